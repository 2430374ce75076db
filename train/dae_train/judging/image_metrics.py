"""PSNR and SSIM as Keras metrics, as `dae_runtime.pixels.metrics` defines them."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from dae_runtime.pixels.metrics import SSIM_K1, SSIM_K2, SSIM_WINDOW_PX, gaussian_window

SMALLEST_MSE = 1e-12
"""Limits the PSNR to 120 dB."""


def ssim(clean: Any, denoised: Any) -> Any:
    """Return the structural similarity of each image of a batch, as `dae_runtime.pixels.metrics.ssim` defines it.

    Args:
        clean: (N, H, W, C), float32 in [0, 1]; H and W known.
        denoised: Of the same shape.

    Returns:
        (N,) float32.
    """
    x, y = ops.cast(clean, "float32"), ops.cast(denoised, "float32")
    moments = _blur(ops.concatenate([x, y, x * x, y * y, x * y], axis=-1))
    mean_x, mean_y, square_x, square_y, product = ops.split(moments, 5, axis=-1)
    c1, c2 = SSIM_K1**2, SSIM_K2**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    covariance = product - mean_x * mean_y
    variances = square_x - mean_x**2 + square_y - mean_y**2
    return ops.mean(luminance * (2 * covariance + c2) / (variances + c2), axis=(1, 2, 3))


def _blur(images: Any) -> Any:
    """Filter (N, H, W, C) with the SSIM window along height and width, valid positions only."""
    for axis in (1, 2):
        length = images.shape[axis]
        size = min(SSIM_WINDOW_PX, length - 1 + length % 2)
        kept = length - size + 1
        parts = []
        for offset, weight in enumerate(gaussian_window(size).tolist()):
            place = (slice(None),) * axis + (slice(offset, offset + kept),)
            parts.append(images[place] * weight)
        images = sum(parts)
    return images


def psnr_of_mse(mse: Any, smallest_mse: float) -> Any:
    """Return PSNR in dB, as `dae_runtime.pixels.metrics.psnr_of_mse` on tensors; errors are at least `smallest_mse`."""
    return -10 * ops.log10(ops.maximum(mse, smallest_mse))


class Psnr(keras.metrics.Mean):  # type: ignore[misc]
    """PSNR in dB of the mean squared error over all images seen (not the mean of PSNRs, which one image can dominate)."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch of clean and denoised images, (N, H, W, C) in [0, 1]."""
        del sample_weight
        super().update_state(ops.mean(ops.square(y_pred - y_true), axis=(1, 2, 3)))

    def mean_square_error(self) -> Any:
        """Return the mean squared error so far."""
        return super().result()

    def result(self) -> Any:
        """Return the PSNR so far, in dB."""
        return psnr_of_mse(self.mean_square_error(), SMALLEST_MSE)


class Ssim(keras.metrics.Mean):  # type: ignore[misc]
    """Mean SSIM over all images seen."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch of clean and denoised images, (N, H, W, C) in [0, 1]."""
        del sample_weight
        super().update_state(ssim(y_true, y_pred))
