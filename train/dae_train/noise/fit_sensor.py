"""Estimate of the noise of a sensor from images without clean references.

The sensor model has variance `gain * v + sigma^2` at value v in [0, 1]. In flat patches the variance after a 3 x 3 high-pass
mask (fine) is that of the noise. The flattest patches of each brightness are selected by the variance among means of 2 x 2
pixels (coarse): selection by the fine variance would be biased to low noise. In white noise both agree; where even the
flattest patches have a much larger coarse variance, the noise is not white and is not estimated.

Source:
    Foi, Trimeche, Katkovnik, Egiazarian: Practical Poissonian-Gaussian noise modeling and fitting for single-image raw-data.
    IEEE Transactions on Image Processing 17(10), 2008: the model, and its fit to pairs of mean and variance.
    Azzari, Foi: Indirect estimation of signal-dependent noise with nonadaptive heterogeneous samples. IEEE Transactions on
    Image Processing 23(8), 2014: patches instead of a segmentation, and a robust fit.
    Immerkaer: Fast noise variance estimation. Computer Vision and Image Understanding 64(2), 1996: the mask.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..data.folders import read_some
from ..data.image_set import FloatArray, Pixels, to_unit
from ..errors import DataError

PATCH_PX, CELL_PX = 8, 2
MASK_NORM = 6.0
"""L2 norm of the mask: the gain of white noise."""
FLATTEST = 0.1
"""Fraction of the patches of a brightness level that is used."""
LEVELS, PATCHES_PER_LEVEL = 24, 40
"""Largest number of brightness levels, and least number of patches of each."""
FEWEST_PATCHES = 4 * PATCHES_PER_LEVEL
MOST_PATCHES = 20_000
"""For one channel of one image; more are subsampled."""
MOST_IMAGES = 100
FREEDOM = PATCH_PX**2 / 3.78
"""Degrees of freedom of a patch: pixels over the sum of squared autocorrelations of the filtered noise."""
MEDIAN_TO_MEAN = 1 / (1 - 2 / (9 * FREEDOM)) ** 3
"""Ratio for a chi-square variable, by Wilson and Hilferty."""
WHITE_UP_TO, STRUCTURE = 1.5, 2.5 / 255
"""Limit of coarse over fine variance in the flattest patches: 0.5 to 1 in white noise, above 1.7 in smoothed or compressed
noise. Faint noise exceeds it too, because of image structure with a coarse deviation below the second limit."""
FAINT = 1 / 255
"""Standard deviation below which noise is negligible, and not distinguishable from fine texture."""
LEVEL_FROM = 0.15
"""A gain that changes the variance by a smaller fraction over the brightness range is set to 0."""
_TOLERANCE, _ROUNDS, _SMALL = 0.05, 30, 1e-9

_Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class NoiseFit:
    """Noise of variance `gain * v + sigma^2` at value v in [0, 1]."""

    gain: float
    """At least 0; 0: independent of brightness."""
    sigma: float
    """At least 0."""
    images: int
    """Number of measured images."""
    patches: int
    """Number of usable patches: without black or white pixels."""
    darkest: float
    brightest: float
    """The range of mean brightness that was measured."""
    structure: float = 1.0
    """Coarse over fine variance of the flattest patches."""

    def deviation(self, value: float) -> float:
        """Return the standard deviation of the noise at a value in [0, 1]."""
        return math.sqrt(self.gain * value + self.sigma**2)

    def spec(self, low: float = 1.0, high: float = 1.0) -> str:
        """Return the noise specification, with a range of factors for the standard deviation."""
        sigma = _range_text(self.sigma * low, self.sigma * high)
        return (
            f"poisson-gaussian:{_range_text(self.gain * low**2, self.gain * high**2)},{sigma}"
            if self.gain
            else f"gaussian:{sigma}"
        )

    def record(self) -> dict[str, Any]:
        """Return the result, for people."""
        return {
            "gain": self.gain,
            "sigma": self.sigma,
            "images": self.images,
            "patches": self.patches,
            "measured_from": round(self.darkest, 3),
            "measured_to": round(self.brightest, 3),
        }


def fit_folder(folder: Path) -> NoiseFit:
    """Estimate the noise of the images below a folder, at most 100, evenly spaced.

    Raises:
        CorrelatedNoiseError: The noise is not independent from pixel to pixel.
        DataError: There are no images, some cannot be read, or there are too few patches.
    """
    try:
        return fit_images(read_some(folder, MOST_IMAGES))
    except _UnmeasurableError as error:
        raise type(error)(f"the noise of {folder} cannot be measured: {error}") from error


def fit_images(images: Iterable[Pixels]) -> NoiseFit:
    """Estimate the noise of images.

    Patches with the smallest or largest value of an image are skipped, since those may be clipped. On photographs with white
    noise of 2 to 25 (of 255) the variance is within 10 %; fainter noise is overestimated by up to 0.5 because of texture.
    Noise smoothed by JPEG or resizing is rejected, or measured as negligible.

    Args:
        images: (H, W, C) with 1 or 3 channels, or 2 or 4 with alpha last, which is ignored; uint8, uint16, or float32 in
            [0, 1].

    Raises:
        CorrelatedNoiseError: The noise is not independent from pixel to pixel.
        DataError: There are too few patches.
    """
    parts = [_image_patches(image) for image in images]
    patches = np.concatenate([np.empty((3, 0)), *parts], axis=1)
    if patches.shape[1] < FEWEST_PATCHES:
        raise _UnmeasurableError(
            f"expected at least {FEWEST_PATCHES} patches of {PATCH_PX}x{PATCH_PX} pixels without black or white ones, "
            f"found {patches.shape[1]} in {len(parts)} images. Give more images, larger ones, or better exposed ones."
        )
    means, variances, structure = _levels(patches)
    _check_white(variances, structure)
    gain, constant = _fit_line(means, variances, 1 / np.maximum(structure, 1) ** 2)
    return NoiseFit(
        gain,
        math.sqrt(constant),
        len(parts),
        patches.shape[1],
        float(means.min()),
        float(means.max()),
        float(np.median(structure)),
    )


class _UnmeasurableError(DataError):
    """Distinguished from unreadable images, to name the folder once."""


class CorrelatedNoiseError(_UnmeasurableError):
    """Neighbors share their noise: it is not that of a sensor."""


def _image_patches(image: Pixels) -> _Values:
    colors = image.shape[2] - (image.shape[2] in (2, 4))
    return np.concatenate([_patches(to_unit(image[..., channel])) for channel in range(colors)], axis=1)


def _patches(plane: FloatArray) -> _Values:
    """Return mean, fine variance and coarse variance of each usable patch of an (H, W) image, (3, N)."""
    height, width = ((side - 2) // PATCH_PX * PATCH_PX for side in plane.shape)
    if height <= 0 or width <= 0:
        return np.empty((3, 0))
    rows = plane[:-2] - 2 * plane[1:-1] + plane[2:]
    fine = (rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:])[:height, :width] / MASK_NORM
    inner = plane[1 : height + 1, 1 : width + 1]
    pixels = _cut(inner, PATCH_PX)
    cells = _cut(_cut(inner, CELL_PX).mean((1, 3)), PATCH_PX // CELL_PX)
    usable = (pixels.min((1, 3)) > plane.min()) & (pixels.max((1, 3)) < plane.max())
    coarse = CELL_PX**2 * cells.var((1, 3), ddof=1)
    found = np.stack(
        [figure[usable] for figure in (pixels.mean((1, 3)), np.square(_cut(fine, PATCH_PX)).mean((1, 3)), coarse)]
    )
    return found[:, :: max(1, -(-found.shape[1] // MOST_PATCHES))].astype(np.float64)


def _cut(plane: FloatArray, side_px: int) -> FloatArray:
    """Return an (H, W) image as squares, (rows, side, columns, side)."""
    height, width = plane.shape
    return plane.reshape(height // side_px, side_px, width // side_px, side_px)


def _levels(patches: _Values) -> tuple[_Values, _Values, _Values]:
    """Return mean, fine variance, and coarse over fine variance of the flattest patches of each brightness, darkest first."""
    count = min(LEVELS, patches.shape[1] // PATCHES_PER_LEVEL)
    rows = []
    for level in np.array_split(np.argsort(patches[0], kind="stable"), count):
        ordered = level[np.argsort(patches[2, level], kind="stable")]
        mean, fine, coarse = patches[:, ordered[: max(8, round(FLATTEST * len(level)))]]
        rows.append((mean.mean(), np.median(fine) * MEDIAN_TO_MEAN, np.median(coarse / np.maximum(fine, _SMALL))))
    means, variances, structure = np.array(rows).T
    return means, variances, structure


def _fit_line(means: _Values, variances: _Values, trust: _Values) -> tuple[float, float]:
    """Fit `variances = gain * means + constant`, both at least 0, by a Huber loss on relative errors."""
    gain, constant = 0.0, float(np.median(variances))
    for _ in range(_ROUNDS):
        fitted = np.maximum(gain * means + constant, _SMALL)
        relative = np.abs(variances - fitted) / fitted
        gain, constant = _fit_weighted_line(means, variances, trust / fitted**2 / np.maximum(1, relative / _TOLERANCE))
    middle = gain * float(np.median(means)) + constant
    if middle < FAINT**2:
        return 0.0, middle
    change = gain * float(means.max() - means.min())
    return (0.0, middle) if change < LEVEL_FROM * middle else (gain, constant)


def _fit_weighted_line(x: _Values, y: _Values, weights: _Values) -> tuple[float, float]:
    weights = weights / weights.sum()
    mean_x, mean_y = float(weights @ x), float(weights @ y)
    gain = float(weights @ ((x - mean_x) * (y - mean_y))) / max(float(weights @ (x - mean_x) ** 2), 1e-12)
    if gain <= 0:
        return 0.0, mean_y
    constant = mean_y - gain * mean_x
    return (gain, constant) if constant >= 0 else (float(weights @ (x * y)) / float(weights @ (x * x)), 0.0)


def _check_white(variances: _Values, structure: _Values) -> None:
    excess = float(np.quantile(variances * (structure - WHITE_UP_TO), 0.1))
    if excess > STRUCTURE**2:
        raise CorrelatedNoiseError(
            f"it is correlated between pixels (over 2x2 pixels its variance is {float(np.quantile(structure, 0.1)):.1f} times "
            f"the expected one; the limit is {WHITE_UP_TO:g}), as in compressed, resized or demosaiced images. Use raw sensor "
            "images, or train on the noisy images themselves."
        )


def _range_text(low: float, high: float) -> str:
    return f"{low:.4g}" if low == high else f"{low:.4g}-{high:.4g}"
