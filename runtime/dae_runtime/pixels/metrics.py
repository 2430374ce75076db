"""PSNR and SSIM of arrays."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .arrays import Float64

SSIM_WINDOW_PX = 11
SSIM_SIGMA_PX = 1.5
SSIM_K1, SSIM_K2 = 0.01, 0.03


def mean_square_error(reference: npt.ArrayLike, image: npt.ArrayLike) -> float:
    """Return the mean squared difference, in the square of the arrays' unit.

    Args:
        reference: Array of any shape and real dtype.
        image: Array of the same shape.

    Raises:
        InputError: The shapes differ.
    """
    first, second = np.asarray(reference, np.float64), np.asarray(image, np.float64)
    if first.shape != second.shape:
        raise InputError(
            f"cannot compare images of different shapes: the reference is {first.shape}, the image {second.shape}. "
            "Give a reference of the same size and number of channels."
        )
    return float(np.mean(np.square(first - second)))


def psnr_db(reference: npt.ArrayLike, image: npt.ArrayLike, data_range: float = 1.0) -> float:
    """Return the peak signal-to-noise ratio in dB: 10 log10(data_range^2 / MSE); `inf` for equal arrays.

    Args:
        reference: Clean array, any shape.
        image: Array of the same shape.
        data_range: Distance between the smallest and the largest possible value (1.0, 255 or 65535).

    Raises:
        InputError: The shapes differ.
    """
    return psnr_of_mse(mean_square_error(reference, image), data_range)


def psnr_of_mse(mse: float, data_range: float = 1.0, largest_db: float = math.inf) -> float:
    """Return the peak signal-to-noise ratio in dB for a mean squared error.

    Args:
        mse: At least 0, in the square of the unit of `data_range`.
        data_range: Distance between the smallest and the largest possible value.
        largest_db: Upper limit of the result, returned for 0.
    """
    return largest_db if mse == 0 else min(float(10 * np.log10(data_range**2 / mse)), largest_db)


def ssim(reference: npt.ArrayLike, image: npt.ArrayLike, data_range: float = 1.0) -> float:
    """Return the mean structural similarity, at most 1.

    Gaussian window of 11 x 11 pixels and sigma 1.5 at positions fully inside, population covariance, K1 = 0.01, K2 = 0.03;
    mean over channels. A side shorter than 11 pixels gets the largest odd window that fits.

    Args:
        reference: Clean image, (H, W) or (H, W, C).
        image: Array of the same shape.
        data_range: Distance between the smallest and the largest possible value (1.0, 255 or 65535).

    Raises:
        InputError: The shapes differ, or are not of single images.

    Source:
        Wang, Bovik, Sheikh, Simoncelli: Image quality assessment: from error visibility to structural similarity. IEEE
        Transactions on Image Processing 13(4), 2004.
    """
    x, y = np.asarray(reference, np.float64), np.asarray(image, np.float64)
    if x.shape != y.shape or x.ndim not in (2, 3) or x.size == 0:
        raise InputError(f"SSIM compares two images of equal shape, (H, W) or (H, W, C); received {x.shape} and {y.shape}.")
    mean_x, mean_y = _blur(x), _blur(y)
    variance_x = _blur(x * x) - mean_x**2
    variance_y = _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    c1, c2 = (SSIM_K1 * data_range) ** 2, (SSIM_K2 * data_range) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    return float(np.mean(luminance * structure))


def gaussian_window(size_px: int) -> Float64:
    """Return the (size_px,) Gaussian weights of SSIM's window; they sum to 1."""
    offsets = np.arange(size_px) - (size_px - 1) / 2
    weights: Float64 = np.exp(-(offsets**2) / (2 * SSIM_SIGMA_PX**2))
    weights /= weights.sum()
    return weights


def _blur(image: Float64) -> Float64:
    for axis in (0, 1):
        length = image.shape[axis]
        size = min(SSIM_WINDOW_PX, length - 1 + length % 2)
        out_length = length - size + 1
        image = sum(
            weight * image.take(range(offset, offset + out_length), axis=axis)
            for offset, weight in enumerate(gaussian_window(size))
        )
    return image
