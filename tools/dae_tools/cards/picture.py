"""The picture of a model's card: noisy, denoised, clean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from dae_runtime.images import find_images, read_image
from dae_runtime.inference import Denoiser
from dae_runtime.pixels.arrays import convert

from ..gaussian import add_gaussian
from . import drawings
from .errors import CardError

Pixels = npt.NDArray[np.uint8]

CROP_PX = 160
GAP_PX = 4
PICTURE_SIGMA, WEAKER_SIGMA = 25.0, 15.0
"""On the scale 0..255; the second for models that are made for weak noise."""


def photograph_strip(denoiser: Denoiser, folder: Path) -> tuple[Pixels, str, float]:
    """Return the strip of the first photograph with the model's channels, its file name, and the sigma of its noise.

    Args:
        denoiser: An opened model.
        folder: Clean images; the middle of one is shown.

    Raises:
        CardError: No image has the model's channels.
    """
    for path in find_images(folder):
        clean = convert(read_image(path).pixels, np.uint8)
        if (3 if clean.ndim == 3 else 1) == denoiser.model.channels:
            clean = _middle(clean)
            told = denoiser.model.sigma
            sigma = PICTURE_SIGMA if told is None or 255 * told.high > PICTURE_SIGMA else WEAKER_SIGMA
            noisy = convert(add_gaussian(clean, sigma, (0,)), np.uint8)
            return strip([noisy, denoiser.denoise(noisy), clean], axis=1), path.name, sigma
    raise CardError(f"{folder} holds no image of {denoiser.model.channels} channels. Give another --pictures.")


def page_strip(denoiser: Denoiser) -> Pixels:
    """Return the strip of a drawn page."""
    noisy, clean = drawings.page()
    if denoiser.model.channels == 3:
        noisy, clean = (np.repeat(image[..., None], 3, axis=2) for image in (noisy, clean))
    return strip([noisy, denoiser.denoise(noisy), clean], axis=1)


def digit_strip(denoiser: Denoiser, sigma: float) -> Pixels:
    """Return three rows of drawn digits, twice as large.

    Args:
        denoiser: An opened gray model.
        sigma: Standard deviation of the noise, white being 1.
    """
    clean = drawings.digits()
    noisy = convert(add_gaussian(clean, 255 * sigma, (0,)), np.uint8)
    rows = [np.concatenate(list(images[..., 0]), axis=1) for images in (noisy, denoiser.denoise(noisy), clean)]
    return strip([row.repeat(2, axis=0).repeat(2, axis=1) for row in rows], axis=0)


def strip(images: list[Pixels], axis: int) -> Pixels:
    """Join images of one shape along an axis, with white gaps."""
    shape = list(images[0].shape)
    shape[axis] = GAP_PX
    gap = np.full(shape, 255, np.uint8)
    return np.concatenate([part for image in images for part in (gap, image)][1:], axis=axis)


def _middle(image: Pixels) -> Pixels:
    top, left = ((side - min(side, CROP_PX)) // 2 for side in image.shape[:2])
    return np.ascontiguousarray(image[top : top + CROP_PX, left : left + CROP_PX])
