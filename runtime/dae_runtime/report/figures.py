"""One image of a report: figures over its middle, pictures of where it changed most."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..contract import gaussian_range
from ..errors import DaeError, InputError
from ..images import Image, encode, read_image
from ..pixels.arrays import Array, as_batch, color_channels, convert
from ..pixels.noise_level import SMALLEST_PX, expected_sigma, noise_sigma
from .residual import Residual, residual_picture, residual_structure
from .verdict import Verdict, judge

if TYPE_CHECKING:
    from ..jobs.plan import Job
    from ..pixels.scores import Scores

PAGE_PIXELS = 1_700_000
"""Total pixels of all crops of one kind; keeps the page below about 5 MB."""
LARGEST_CROP_PX = 560
MEASURED_PX = 1024
"""Noise of larger images is measured in a middle crop of this side."""
TINY_PX = 96
"""Images up to this size are shown enlarged and lossless."""
_BLOCK_PX = 16
_CLEARLY = 1.05
"""How many times the change of the middle another place must have to be shown instead."""
TOLERANCE = 0.25
"""Relative tolerance of a noise estimate against the training range."""


@dataclass(frozen=True)
class ReportedImage:
    """One image of the report."""

    name: str
    height_px: int
    width_px: int
    scores: Scores | None
    """PSNR and SSIM before and after, if there is a reference."""
    noisy_sigma: float | None
    """Estimated noise before, on the scale where white is 1; None for very small images."""
    denoised_sigma: float | None
    """Likewise after."""
    warning: str | None
    """Warning about this model on this image, if any."""
    residual: Residual
    gain: float
    """Amplification of the residual picture."""
    pictures: Mapping[str, str]
    """`before`, `after`, `residual`, and `reference` if any, as data URLs of equal size."""
    crop_px: tuple[int, int]
    """(height, width) of the pictures."""
    level: float | None = None
    """Noise level that the model was given, on the scale where white is 1; None for models that are given none."""

    @property
    def verdict(self) -> Verdict:
        """What is said about it."""
        scores = self.scores
        psnr_db = None if scores is None else (scores.noisy_psnr_db, scores.denoised_psnr_db)
        return judge(self.noisy_sigma, self.denoised_sigma, self.residual, psnr_db)

    @property
    def tiny(self) -> bool:
        """Whether to show it enlarged."""
        return max(self.crop_px) <= TINY_PX


def crop_side(count: int) -> int:
    """Return the side of the pictures in pixels, which keeps the page small for any number of images."""
    return min(LARGEST_CROP_PX, math.isqrt(PAGE_PIXELS // max(count, 1)))


def report_image(
    job: Job,
    scores: Scores | None,
    noise: str,
    side_px: int,
    level: float | None = None,
    read: Callable[[Path], Image] = read_image,
) -> ReportedImage:
    """Measure one image and build its pictures, from its files.

    Args:
        job: Its files.
        scores: PSNR and SSIM, if compared.
        noise: The training noise of the contract.
        side_px: The largest side of a picture.
        level: Noise level that the model was given, if it was given one.
        read: Reads an image.

    Raises:
        DaeError: A file cannot be read, or noisy and denoised do not match.
    """
    noisy, denoised = (_colors(read(path)) for path in (job.source, job.destination))
    if noisy.shape != denoised.shape:
        raise InputError(f"{job.destination}: has the shape {denoised.shape}, and {job.source} {noisy.shape}.")
    middle, middle_clean = _middle(noisy, MEASURED_PX), _middle(denoised, MEASURED_PX)
    sigmas = [noise_sigma(image) for image in (middle, middle_clean)] if min(middle.shape[:2]) >= SMALLEST_PX else None
    place = most_changed(noisy, denoised, side_px)
    crops = {"before": noisy[place], "after": denoised[place]}
    crops["residual"], gain = residual_picture(crops["before"], crops["after"])
    reference = _reference(job, noisy.shape, read)
    if reference is not None:
        crops["reference"] = reference[place]
    return ReportedImage(
        name=str(job.source),
        height_px=noisy.shape[0],
        width_px=noisy.shape[1],
        scores=scores,
        noisy_sigma=sigmas[0] if sigmas else None,
        denoised_sigma=sigmas[1] if sigmas else None,
        warning=noise_warning(sigmas[0], middle_clean, noise) if sigmas else None,
        residual=residual_structure(middle, middle_clean),
        gain=gain,
        pictures={kind: data_url(crop) for kind, crop in crops.items()},
        crop_px=(crops["before"].shape[0], crops["before"].shape[1]),
        level=level,
    )


def noise_warning(sigma: float, clean: Array, noise: str) -> str | None:
    """Return a warning if an image's noise lies outside the training range, or None.

    The estimate is compared with estimates of the denoised image plus the weakest and the strongest training noise, so that
    texture and clipping affect both sides.

    Args:
        sigma: Estimated noise of the image, on the scale where white is 1.
        clean: The denoised image, float32 in [0, 1].
        noise: The training noise of the contract.
    """
    trained = gaussian_range(noise)
    if trained is None:
        return None
    low, high = (expected_sigma(clean, bound) for bound in trained)
    if sigma < low * (1 - TOLERANCE) - 1 / 255:
        kind, hint = "weaker", "the model may smooth detail away; --strength below 1, or a model for less noise, keeps more"
    elif sigma > high * (1 + TOLERANCE) + 1 / 255:
        kind, hint = "stronger", "much of it may remain; use a model for more noise"
    else:
        return None
    bounds = "to".join(f" {255 * bound:.0f} " for bound in sorted(set(trained)))
    return f"The noise is {kind} than what the model was trained on (sigma{bounds}of 255): {hint}."


def data_url(picture: Array) -> str:
    """Return a picture, (H, W, 1 or 3) float32 in [0, 1], as a data URL."""
    pixels = convert(picture, np.uint8)
    kind = "png" if max(pixels.shape[:2]) <= TINY_PX else "webp"
    data = encode(pixels[..., 0] if pixels.shape[2] == 1 else pixels, kind)
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _colors(image: Image) -> Array:
    batch = as_batch(image.page_pixels)  # the first of several pages
    return convert(batch[0, ..., : color_channels(batch.shape[3])], np.float32)


def most_changed(noisy: Array, denoised: Array, side_px: int) -> tuple[slice, slice]:
    """Return where a crop of a side shows the most change; the middle, unless another place has clearly more.

    Args:
        noisy: (H, W, C) float32 in [0, 1].
        denoised: Likewise, the same shape.
        side_px: The largest side of the crop.
    """
    middle = _middle_of(noisy.shape, side_px)
    height, width = (place.stop - place.start for place in middle)
    rows, columns = (length // _BLOCK_PX for length in noisy.shape[:2])
    high, wide = (max(1, length // _BLOCK_PX) for length in (height, width))
    if (height, width) == noisy.shape[:2] or not rows or not columns:
        return middle
    change = np.abs(noisy - denoised)[: rows * _BLOCK_PX, : columns * _BLOCK_PX]
    blocks = change.reshape(rows, _BLOCK_PX, columns, _BLOCK_PX, -1).mean((1, 3, 4), dtype=np.float64)
    windows = np.lib.stride_tricks.sliding_window_view(blocks, (min(high, rows), min(wide, columns))).mean((2, 3))
    top, left = (int(place) for place in np.unravel_index(windows.argmax(), windows.shape))
    if windows[top, left] < _CLEARLY * float(np.abs(noisy[middle] - denoised[middle]).mean()):
        return middle
    top, left = min(top * _BLOCK_PX, noisy.shape[0] - height), min(left * _BLOCK_PX, noisy.shape[1] - width)
    return slice(top, top + height), slice(left, left + width)


def _middle(image: Array, side_px: int) -> Array:
    return image[_middle_of(image.shape, side_px)]


def _middle_of(shape: tuple[int, ...], side_px: int) -> tuple[slice, slice]:
    height, width = (min(length, side_px) for length in shape[:2])
    top, left = (shape[0] - height) // 2, (shape[1] - width) // 2
    return slice(top, top + height), slice(left, left + width)


def _reference(job: Job, shape: tuple[int, ...], read: Callable[[Path], Image]) -> Array | None:
    if job.reference is None:
        return None
    try:
        reference = _colors(read(job.reference))
    except DaeError:  # already reported by the run
        return None
    return reference if reference.shape == shape else None
