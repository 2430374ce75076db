"""Estimate the noise of an image without a clean reference.

Sources: the 3 x 3 mask that cancels slow variation, J. Immerkaer, Fast noise variance estimation, Computer Vision and Image
Understanding 64(2), 1996; the median absolute deviation in place of Immerkaer's mean, so that edges and texture count little,
D. Donoho and I. Johnstone, Ideal spatial adaptation by wavelet shrinkage, Biometrika 81(3), 1994. The most accurate of the
estimators tried on photographs with known noise from sigma 2 to 40 (of 255).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .arrays import Array, as_batch, as_image, color_channels, convert

SMALLEST_PX = 3
_MASK_NORM = 6.0
"""L2 norm of the mask, the gain for white noise."""
_MAD_TO_SIGMA = 0.6744897501960817
"""Median of the absolute value of a standard normal variable."""


def noise_sigma(image: npt.ArrayLike) -> float:
    """Estimate the standard deviation of an image's noise, assumed white and Gaussian.

    Texture raises the estimate (by 1 to 2 of 255 on photographs); clipping and smoothed noise (e.g. by JPEG) lower it.

    Args:
        image: (H, W) or (H, W, C), both sides at least 3 pixels; uint8, uint16 or float32 of about 0..1. Alpha is ignored.

    Returns:
        The standard deviation on the scale where white is 1; for color the root mean square over channels.

    Raises:
        InputError: The array is not an image, or smaller than 3 x 3 pixels.
    """
    checked = as_image(image)
    if checked.ndim == 4 or min(checked.shape[:2]) < SMALLEST_PX:
        raise InputError(
            f"noise is estimated from one image, (H, W) or (H, W, C), of at least {SMALLEST_PX} x {SMALLEST_PX} pixels; "
            f"received {checked.shape}."
        )
    batch = as_batch(checked)
    colors = convert(batch[0, ..., : color_channels(batch.shape[3])], np.float32)
    return math.sqrt(float(np.mean([_sigma(colors[..., channel]) ** 2 for channel in range(colors.shape[2])])))


def expected_sigma(clean: npt.ArrayLike, sigma: float) -> float:
    """Return `noise_sigma` of a clean image with added noise of known strength, clipped to 0..1.

    Estimates must be compared with this value, which includes the effects of texture and clipping.

    Args:
        clean: As `noise_sigma` takes it.
        sigma: Standard deviation of the noise, on the scale where white is 1.

    Raises:
        InputError: As in `noise_sigma`.
    """
    pixels = convert(as_image(clean), np.float32)
    noise = np.random.default_rng(0).standard_normal(pixels.shape, np.float32)
    return noise_sigma(np.clip(pixels + np.float32(sigma) * noise, 0, 1))


def _sigma(plane: Array) -> float:
    rows = plane[:-2] - 2 * plane[1:-1] + plane[2:]
    filtered = rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]
    return float(np.median(np.abs(filtered))) / (_MASK_NORM * _MAD_TO_SIGMA)
