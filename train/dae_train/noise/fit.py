"""The noise of a folder of images, measured without clean ones, so that training can add the same.

The model is a sensor's: variance `gain * v + sigma^2` at value v, white from 0 to 1. In small patches the variance of what a
3 x 3 mask leaves of an image is that of its noise, if the patch shows nothing but a flat surface. The flattest patches of each
brightness are found by another figure, the variance among means of 2 x 2 pixels: to choose them by the measured figure itself
would find the least noisy ones. In white noise both figures agree; where even the flattest patches have far more of the coarse
than of the fine, there is no white noise to be measured.

Source:
    Foi, Trimeche, Katkovnik, Egiazarian: Practical Poissonian-Gaussian noise modeling and fitting for single-image raw-data.
    IEEE Transactions on Image Processing 17(10), 2008: the model, and its fit to pairs of mean and variance.
    Azzari, Foi: Indirect estimation of signal-dependent noise with nonadaptive heterogeneous samples. IEEE Transactions on
    Image Processing 23(8), 2014: patches in place of a segmentation, and a robust fit.
    Immerkaer: Fast noise variance estimation. Computer Vision and Image Understanding 64(2), 1996: the mask.
"""

from __future__ import annotations

import logging
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
from ..settings.noise import FitRequest

_LOG = logging.getLogger("dae_train")

PATCH_PX, CELL_PX = 8, 2
MASK_NORM = 6.0
"""Root of the sum of the squares of the mask's weights: what white noise is multiplied with."""
FLATTEST = 0.1
"""Part of the patches of a brightness that is looked at."""
LEVELS, PATCHES_PER_LEVEL = 24, 40
"""At most so many brightnesses, each with at least so many patches."""
FEWEST_PATCHES = 4 * PATCHES_PER_LEVEL
MOST_PATCHES = 20_000
"""Of one channel of one image; of more, every second is taken, or every third."""
MOST_IMAGES = 100
FREEDOM = PATCH_PX**2 / 3.78
"""Degrees of freedom of a patch: its pixels over the sum of the squares of the filtered noise's autocorrelation."""
MEDIAN_TO_MEAN = 1 / (1 - 2 / (9 * FREEDOM)) ** 3
"""Of a chi-square variable, by Wilson and Hilferty."""
WHITE_UP_TO, STRUCTURE = 1.5, 2.5 / 255
"""Coarse over fine variance in the flattest patches is 0.5 to 1 in white noise and above 1.7 in smoothed or compressed noise,
but also where noise is too faint to hide the patches' own structure, whose coarse deviation stays below the second figure."""
FAINT = 1 / 255
"""A standard deviation below which noise is not worth removing, nor told from fine texture."""
LEVEL_FROM = 0.15
"""A gain that changes the variance by less than this part over the images' brightness is left out."""
_TOLERANCE, _ROUNDS, _SMALL = 0.05, 30, 1e-9

_Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class NoiseFit:
    """Noise of variance `gain * v + sigma^2` at value v, where white is 1."""

    gain: float
    """At least 0; 0: the same noise at every brightness."""
    sigma: float
    """At least 0."""
    images: int
    """How many were measured."""
    patches: int
    """How many of them were usable: those that are nowhere black or white."""
    darkest: float
    brightest: float
    """Between these values of mean brightness variances were measured."""

    def deviation(self, value: float) -> float:
        """Return the standard deviation of the noise at a value in [0, 1]."""
        return math.sqrt(self.gain * value + self.sigma**2)

    def spec(self, low: float = 1.0, high: float = 1.0) -> str:
        """Return the noise specification; with a range around it, whose factors multiply the standard deviation."""
        sigma = _range(self.sigma * low, self.sigma * high)
        return (
            f"poisson-gaussian:{_range(self.gain * low**2, self.gain * high**2)},{sigma}" if self.gain else f"gaussian:{sigma}"
        )

    def record(self) -> dict[str, Any]:
        """Return what the fit came to, for people."""
        return {
            "gain": self.gain,
            "sigma": self.sigma,
            "images": self.images,
            "patches": self.patches,
            "measured_from": round(self.darkest, 3),
            "measured_to": round(self.brightest, 3),
        }


def resolve(request: FitRequest) -> tuple[str, dict[str, Any]]:
    """Return the noise specification that a request comes to, and a record of it.

    Raises:
        DataError: As `check_request` and `fit_folder`.
    """
    check_request(request)
    fit = fit_folder(Path(request.folder))
    spec = fit.spec(request.low, request.high)
    _LOG.info("noise fitted to %d images of %s: %s", fit.images, request.folder, spec)
    return spec, {"request": request.text, "spec": spec, **fit.record()}


def check_request(request: FitRequest) -> None:
    """Check that the folder of a request exists, without reading it.

    Raises:
        DataError: It does not.
    """
    if not Path(request.folder).is_dir():
        raise DataError(f"noise {request.text!r}: {request.folder} is not a folder. Give a folder of noisy images.")


def fit_folder(folder: Path) -> NoiseFit:
    """Measure the noise of the images below a folder; of more than 100, 100 that are spread evenly.

    Raises:
        DataError: There are no images, some cannot be read, or their noise cannot be measured (see `fit_images`).
    """
    try:
        return fit_images(read_some(folder, MOST_IMAGES))
    except _UnmeasurableError as error:
        raise DataError(f"the noise of {folder} cannot be measured: {error}") from error


def fit_images(images: Iterable[Pixels]) -> NoiseFit:
    """Measure the noise of images.

    Patches that hold an image's smallest or largest value are left out, since those values may have been clipped. On
    photographs with white noise from 2 to 25 (of 255) the variance comes out right within a tenth; fainter noise is
    overestimated by up to 0.5 because of the photographs' own texture. JPEG and resizing smooth noise: it is then refused, or
    where next to nothing is left of it, measured as that.

    Args:
        images: (H, W, C) with 1 or 3 channels, or 2 or 4 whose last is alpha, which is passed over; uint8, uint16, or float32
            in [0, 1].

    Raises:
        DataError: There are too few patches, or the noise is not independent from pixel to pixel.
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
    gain, constant = _line(means, variances, 1 / np.maximum(structure, 1) ** 2)
    return NoiseFit(gain, math.sqrt(constant), len(parts), patches.shape[1], float(means.min()), float(means.max()))


class _UnmeasurableError(DataError):
    """Told apart from unreadable images, so that the folder can be named once."""


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


def _line(means: _Values, variances: _Values, trust: _Values) -> tuple[float, float]:
    """Fit `variances = gain * means + constant`, both at least 0, to relative errors, of which large ones count linearly."""
    gain, constant = 0.0, float(np.median(variances))
    for _ in range(_ROUNDS):
        fitted = np.maximum(gain * means + constant, _SMALL)
        relative = np.abs(variances - fitted) / fitted
        gain, constant = _weighted_line(means, variances, trust / fitted**2 / np.maximum(1, relative / _TOLERANCE))
    middle = gain * float(np.median(means)) + constant
    if middle < FAINT**2:
        _LOG.warning(
            "next to no noise was found (%.1f of 255): the images are clean, or were smoothed or compressed",
            math.sqrt(middle) * 255,
        )
        return 0.0, middle
    change = gain * float(means.max() - means.min())
    return (0.0, middle) if change < LEVEL_FROM * middle else (gain, constant)


def _weighted_line(x: _Values, y: _Values, weights: _Values) -> tuple[float, float]:
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
        raise _UnmeasurableError(
            f"it is not independent from pixel to pixel (over 2x2 pixels it varies {float(np.quantile(structure, 0.1)):.1f} "
            f"times as much as it should, at most {WHITE_UP_TO:g} are usual), as when images were compressed, resized or "
            "demosaiced. Give images as the sensor delivers them, or train on the noisy images themselves."
        )


def _range(low: float, high: float) -> str:
    return f"{low:.4g}" if low == high else f"{low:.4g}-{high:.4g}"
