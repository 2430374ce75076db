"""Denoise images of any size with a network of fixed size: overlapping windows, blended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import numpy.typing as npt

from ..pixels.arrays import Array, FloatArray, convert


def cut_patches(
    images: Array, window_px: tuple[int, int], write: Callable[[int, FloatArray], None], columns_per_run: int | None = None
) -> Iterator[tuple[Array, Callable[[Array], None]]]:
    """Cut images into windows that overlap by half, each weighted by a smooth bump to hide seams.

    Holds one row of windows at a time, so memory does not depend on the height.

    Args:
        images: (N, H, W, C) of any dtype, any H and W; extended by reflection at the bottom and the right; read only.
        window_px: (height, width) of the network's input.
        write: Gets the blended strips from top to bottom: their first row, and (N, rows, W, C) float32.
        columns_per_run: Windows per image yielded at once; None for a whole row.

    Yields:
        Windows (M, height, width, C) in the dtype of the images, and a function that takes their denoised versions, of any
        image dtype, before the next windows are taken.
    """
    height, width = images.shape[1:3]
    rows, columns = window_starts(height, window_px[0]), window_starts(width, window_px[1])
    count = columns_per_run or len(columns)
    across = reflected(columns[-1] + window_px[1], width)
    weights = np.outer(bump(window_px[0]), bump(window_px[1]))[..., None]
    # The weights' sum is separable, like the weights.
    sum_down, sum_across = _weight_sum(rows, window_px[0]), _weight_sum(columns, window_px[1])
    total = np.zeros((len(images), window_px[0], len(across), images.shape[3]), np.float32)
    for top, below in zip(rows, [*rows[1:], rows[-1] + window_px[0]], strict=True):
        down = reflected(top + window_px[0], height)[top:]
        band = images[:, down][:, :, across]
        for part in (columns[start : start + count] for start in range(0, len(columns), count)):
            windows = np.stack([band[:, :, left : left + window_px[1]] for left in part])
            yield windows.reshape(-1, *windows.shape[2:]), partial(_add, total, part, weights)
        done = below - top  # no later window reaches these rows
        strip = total[:, :done] / np.outer(sum_down[top:below], sum_across)[..., None]
        write(top, strip[:, : height - top, :width])
        total = np.concatenate([total[:, done:], np.zeros_like(total[:, :done])], axis=1)


def _add(total: FloatArray, columns: list[int], weights: FloatArray, clean: Array) -> None:
    """Add denoised windows at some columns to the sum of a row."""
    clean = convert(clean, np.float32).reshape(len(columns), len(total), *weights.shape[:2], -1)
    for left, window in zip(columns, clean, strict=True):
        total[:, :, left : left + weights.shape[1]] += window * weights


def window_starts(length_px: int, window_px: int) -> list[int]:
    """Return the starts of the windows along one axis: half a window apart, the last one reaching the end."""
    stride = max(window_px // 2, 1)
    steps = -(-max(length_px - window_px, 0) // stride)
    return [step * stride for step in range(steps + 1)]


def bump(window_px: int) -> FloatArray:
    """Return (window_px,) weights: a sine squared, positive everywhere; two that overlap by half sum to 1."""
    phase = (np.arange(window_px) + 0.5) * (np.pi / window_px)
    weights: FloatArray = np.square(np.sin(phase)).astype(np.float32)
    return weights


def reflected(count: int, length: int) -> npt.NDArray[np.intp]:
    """Return `count` positions of an axis of `length` extended by reflection: 0 1 2 1 0 1 ... for 3."""
    period = max(2 * (length - 1), 1)
    phase = np.arange(count) % period
    positions: npt.NDArray[np.intp] = np.minimum(phase, period - phase) if length > 1 else np.zeros(count, np.intp)
    return positions


def _weight_sum(starts: list[int], window_px: int) -> FloatArray:
    total = np.zeros(starts[-1] + window_px, np.float32)
    for start in starts:
        total[start : start + window_px] += bump(window_px)
    return total
