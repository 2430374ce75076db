"""Copy pixels channel by channel where others lie between them, such as alpha: numpy is slow at runs of few values."""

from __future__ import annotations

import numpy as np

from .arrays import Array


def copy_channels(source: Array, target: Array) -> None:
    """Copy pixels to others.

    Args:
        source: (..., W, 1 or C); one channel goes to all.
        target: (..., W, C), written to.
    """
    if source.shape[-1] == target.shape[-1] and _is_gapless(source) and _is_gapless(target):
        target[...] = source
        return
    for channel in range(target.shape[-1]):
        target[..., channel] = source[..., channel % source.shape[-1]]


def packed(colors: Array) -> Array:
    """Return (..., W, C) without gaps between pixels: itself, or a copy."""
    if _is_gapless(colors):
        return colors
    result = np.empty(colors.shape, colors.dtype)
    copy_channels(colors, result)
    return result


def _is_gapless(colors: Array) -> bool:
    row = colors[(0,) * (colors.ndim - 2)]
    return bool(row.flags.c_contiguous)
