"""Images of any size through a network of one fixed size: overlapping windows, blended."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

FloatImages = npt.NDArray[np.float32]


def denoise_patches(
    images: FloatImages, window_px: tuple[int, int], denoise: Callable[[FloatImages], FloatImages]
) -> FloatImages:
    """Denoise images by windows that overlap by half, each weighted by a smooth bump, so that no seam shows.

    Args:
        images: (N, H, W, C) float32, any H and W; read only.
        window_px: (height, width) that `denoise` takes.
        denoise: Maps (M, height, width, C) to the same shape.

    Returns:
        A new (N, H, W, C) float32 array.
    """
    height, width = images.shape[1:3]
    rows, columns = window_starts(height, window_px[0]), window_starts(width, window_px[1])
    padded = _pad(images, rows[-1] + window_px[0], columns[-1] + window_px[1])
    total = np.zeros(padded.shape, np.float32)
    weights = np.outer(bump(window_px[0]), bump(window_px[1]))[..., None]
    for top in rows:  # one row of windows at a time bounds the memory
        below = top + window_px[0]
        windows = np.stack([padded[:, top:below, left : left + window_px[1]] for left in columns])
        clean = denoise(windows.reshape(-1, *windows.shape[2:])).reshape(windows.shape)
        for left, window in zip(columns, clean, strict=True):
            total[:, top:below, left : left + window_px[1]] += window * weights
    # The weights' sum is separable, like the weights.
    total /= np.outer(_weight_sum(rows, window_px[0]), _weight_sum(columns, window_px[1]))[..., None]
    return np.ascontiguousarray(total[:, :height, :width])


def window_starts(length_px: int, window_px: int) -> list[int]:
    """Return where the windows along one axis begin: half a window apart, the last one reaching the end."""
    stride = max(window_px // 2, 1)
    steps = -(-max(length_px - window_px, 0) // stride)
    return [step * stride for step in range(steps + 1)]


def bump(window_px: int) -> npt.NDArray[np.float32]:
    """Return (window_px,) weights: a sine squared, above 0 everywhere; two that overlap by half add up to 1."""
    phase = (np.arange(window_px) + 0.5) * (np.pi / window_px)
    weights: npt.NDArray[np.float32] = np.square(np.sin(phase)).astype(np.float32)
    return weights


def _weight_sum(starts: list[int], window_px: int) -> npt.NDArray[np.float32]:
    total = np.zeros(starts[-1] + window_px, np.float32)
    for start in starts:
        total[start : start + window_px] += bump(window_px)
    return total


def _pad(images: FloatImages, height: int, width: int) -> FloatImages:
    bottom, right = height - images.shape[1], width - images.shape[2]
    return np.pad(images, ((0, 0), (0, bottom), (0, right), (0, 0)), mode="reflect")
