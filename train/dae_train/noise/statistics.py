"""What noise looks like, in numbers: how strong it is, how far it reaches, and how much of it is of color.

Of noise itself, as from pairs; or of the flat blocks of a noisy image, where most of what varies is noise. Both are done alike
on noise that is made, so that what a block hides or adds cancels in a comparison.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dae_runtime.pixels.arrays import LUMA

from ..data.image_set import FloatArray

DISTANCES_PX = (1, 2, 3)
BLOCK_PX, CELL_PX = 16, 4
FLATTEST = 0.03
"""Share of the blocks of an image that counts: few parts of a photograph are without texture. The percentile method is alike:
M. Colom, A. Buades, Analysis and extension of the percentile method, Image Processing On Line 3, 2013, with 0.5 %."""
MIDDLE = (0.15, 0.85)
"""Mean brightness of a block that counts: curves of contrast press noise together beyond."""
FEWEST_BLOCKS = 40
"""Of an image: with fewer there is nothing to choose from."""
_MEDIAN_SIZE = 0.6745
"""Of a standard normal variable; D. Donoho, I. Johnstone, Ideal spatial adaptation by wavelet shrinkage, Biometrika, 1994."""


@dataclass(frozen=True)
class NoiseStatistics:
    """Noise in numbers; those of color are 0 for gray."""

    level: float
    """Standard deviation over pixels and channels, where white is 1."""
    luma: tuple[float, ...]
    """Correlation of the noise of brightness at `DISTANCES_PX` along rows and columns."""
    color: tuple[float, ...]
    """The same of color, which is what is left in each channel without brightness."""
    ratio: float
    """Standard deviation of color over that of brightness."""


def describe(noise: FloatArray) -> NoiseStatistics:
    """Return the statistics of noise.

    Args:
        noise: (N, H, W, C) with C 1 or 3, sides above 3; the mean of each of the N parts and channels does not count.
    """
    noise = noise - noise.mean(axis=(1, 2), keepdims=True, dtype=np.float64)
    luma = noise if noise.shape[3] == 1 else (noise @ np.array(LUMA, np.float64))[..., np.newaxis]
    color = noise - luma
    deviation, color_deviation = (math.sqrt(float(np.square(part).mean())) for part in (luma, color))
    return NoiseStatistics(
        level=math.sqrt(float(np.square(noise).mean())),
        luma=_correlations(luma),
        color=_correlations(color),
        ratio=color_deviation / deviation if deviation else 0.0,
    )


def flat_blocks(image: FloatArray, noise: FloatArray | None = None) -> FloatArray:
    """Return the flattest blocks of an image of middle brightness: those whose cells differ least.

    Args:
        image: (H, W, C) in 0..1 with C 1 or 3.
        noise: What to return instead at the same places, of the same shape.

    Returns:
        (N, 16, 16, C) around their means, without slopes; none of an image with too few blocks without black or white.
    """
    rows, columns = (side // BLOCK_PX for side in image.shape[:2])
    blocks = _cut(image, rows, columns)
    wanted = blocks if noise is None else _cut(noise, rows, columns)
    mean = blocks.mean((1, 2, 3))
    usable = (blocks.min((1, 2, 3)) > 0) & (blocks.max((1, 2, 3)) < 1) & (mean > MIDDLE[0]) & (mean < MIDDLE[1])
    blocks, wanted = blocks[usable], wanted[usable]
    if len(blocks) < FEWEST_BLOCKS:
        return _level(wanted[:0])
    cells = blocks.reshape(-1, BLOCK_PX // CELL_PX, CELL_PX, BLOCK_PX // CELL_PX, CELL_PX, image.shape[2]).mean((2, 4, 5))
    flattest = np.argsort(cells.var((1, 2)), kind="stable")[: math.ceil(FLATTEST * len(blocks))]
    return _level(wanted[flattest])


def _cut(image: FloatArray, rows: int, columns: int) -> FloatArray:
    """Return the blocks of an image, (rows * columns, 16, 16, C)."""
    cut = image[: rows * BLOCK_PX, : columns * BLOCK_PX].reshape(rows, BLOCK_PX, columns, BLOCK_PX, -1)
    blocks: FloatArray = cut.transpose(0, 2, 1, 3, 4).reshape(-1, BLOCK_PX, BLOCK_PX, image.shape[2])
    return blocks


def white_level(image: FloatArray, stride: int) -> float:
    """Return what an estimator for white noise finds between pixels some way off: the median size of diagonal details.

    Args:
        image: (H, W, C).
        stride: Distance in pixels; 1 as estimators have it.
    """
    rows = image[:-stride] - image[stride:]
    details = (rows[:, :-stride] - rows[:, stride:]) / 2
    return float(np.median(np.abs(details))) / _MEDIAN_SIZE


def _level(blocks: FloatArray) -> FloatArray:
    """Return blocks, (N, 16, 16, C), without their slopes along rows and columns."""
    places = np.arange(BLOCK_PX, dtype=np.float32) - np.float32((BLOCK_PX - 1) / 2)
    for shape in ((1, BLOCK_PX, 1, 1), (1, 1, BLOCK_PX, 1)):
        along = places.reshape(shape)
        blocks = blocks - along * (blocks * along).sum((1, 2), keepdims=True) / (
            BLOCK_PX * np.float32(np.square(places).sum())
        )
    return blocks


def _correlations(planes: FloatArray) -> tuple[float, ...]:
    variance = float(np.square(planes).mean())
    if not variance:
        return (0.0,) * len(DISTANCES_PX)
    return tuple(
        float((planes[:, d:] * planes[:, :-d]).mean() + (planes[:, :, d:] * planes[:, :, :-d]).mean()) / (2 * variance)
        for d in DISTANCES_PX
    )
