"""One image of a report: figures over the whole image, pictures of its middle."""

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
    crops = {"before": _middle(noisy, side_px), "after": _middle(denoised, side_px)}
    crops["residual"], gain = residual_picture(crops["before"], crops["after"])
    reference = _reference(job, noisy.shape, read)
    if reference is not None:
        crops["reference"] = _middle(reference, side_px)
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


def _middle(image: Array, side_px: int) -> Array:
    height, width = (min(length, side_px) for length in image.shape[:2])
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]


def _reference(job: Job, shape: tuple[int, ...], read: Callable[[Path], Image]) -> Array | None:
    if job.reference is None:
        return None
    try:
        reference = _colors(read(job.reference))
    except DaeError:  # already reported by the run
        return None
    return reference if reference.shape == shape else None
