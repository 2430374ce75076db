"""Colors under transparency: what nobody sees must not show as a ring beside what one sees."""

from __future__ import annotations

import numpy as np

from .arrays import Array, convert

CORE_PX = 256
BLOCK_PX = 8
MARGIN_PX = 64
"""How far beyond an edge of the visible part colors are filled, at least; more than networks look."""


def hidden_in(batch: Array) -> Array:
    """Return where a batch (N, H, W, 2 or 4) is fully transparent, (N, H, W) bool."""
    hidden: Array = batch[..., -1] <= 0
    return hidden


def fill_hidden(image: Array, hidden: Array) -> None:
    """Fill the colors of transparent pixels near visible ones from those, in place.

    Args:
        image: (H, W, 2 or 4), alpha last.
        hidden: (H, W) bool.
    """
    height, width = hidden.shape
    for top in range(0, height, CORE_PX):
        for left in range(0, width, CORE_PX):
            core = hidden[top : top + CORE_PX, left : left + CORE_PX]
            outer = tuple(slice(max(0, start - MARGIN_PX), start + CORE_PX + MARGIN_PX) for start in (top, left))
            if not core.any() or hidden[outer].all():
                continue
            colors = convert(image[outer][..., :-1], np.float32)
            filled = _smooth(colors, ~hidden[outer]) + _noise_like(colors, ~hidden[outer])
            inner = tuple(
                slice(start - part.start, start - part.start + length)
                for start, part, length in zip((top, left), outer, core.shape, strict=True)
            )
            image[top : top + CORE_PX, left : left + CORE_PX, :-1][core] = convert(filled[inner][core], image.dtype)


def _noise_like(colors: Array, known: Array) -> Array:
    """Return noise of the strength of the known pixels': a network that sees a flat part takes the whole picture for clean."""
    pairs = known[:, 1:] & known[:, :-1]
    steps = (colors[:, 1:] - colors[:, :-1])[pairs] * np.float32(0.5**0.5)
    if len(steps) == 0:
        return np.zeros_like(colors)
    drawn: Array = steps[np.random.default_rng(0).integers(0, len(steps), known.shape)]
    return drawn


def _smooth(colors: Array, known: Array) -> Array:
    """Return the means of known pixels nearby, (H, W, C), in steps of a block: few pixels would show their noise."""
    height, width = known.shape
    padding = ((0, -height % BLOCK_PX), (0, -width % BLOCK_PX))
    sums = np.pad(colors * known[..., None], (*padding, (0, 0)))
    counts = np.pad(known, padding).astype(np.float32)[..., None]
    for _ in range(BLOCK_PX.bit_length() - 1):
        sums, counts = _halved(sums), _halved(counts)
    means = sums / np.maximum(counts, np.float32(1))
    filled = _filled(means, counts[..., 0] >= min(BLOCK_PX, counts.max()))
    smooth: Array = filled.repeat(BLOCK_PX, axis=0).repeat(BLOCK_PX, axis=1)[:height, :width]
    return smooth


def _filled(colors: Array, known: Array) -> Array:
    """Return colors (H, W, C), unknown ones as the mean of known ones nearby, at the finest scale that has one."""
    if known.all() or max(known.shape) == 1:
        return colors
    height, width = known.shape
    padding = ((0, height % 2), (0, width % 2))
    weights = np.pad(known, padding).astype(np.float32)[..., None]
    sums = _halved(np.pad(colors, (*padding, (0, 0))) * weights)
    counts = _halved(weights)
    coarse = _filled(sums / np.maximum(counts, np.float32(1)), counts[..., 0] > 0)
    fine = coarse.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
    filled: Array = np.where(known[..., None], colors, fine)
    return filled


def _halved(values: Array) -> Array:
    height, width, channels = values.shape
    sums: Array = values.reshape(height // 2, 2, width // 2, 2, channels).sum(axis=(1, 3))
    return sums
