"""The noise level of a photograph, measured: how strong is the noise that a camera, its own denoiser and JPEG have left?

Such noise is smooth: neighboring pixels share it, so an estimator for white noise sees a fifth of it (`noise_level` is one).
Differences of pixels further apart show more of it, and how much more tells how smooth it is. Texture looks alike, but is not
everywhere: in each range of brightness the flattest parts of an image count, and noise is normal where texture is sparse. A
small regression puts these numbers together. `python -m dae_tools.fit_level` makes its coefficients from synthetic noise.

Texture everywhere still reads as noise: what a model is told is the advised level (`advice`).

Source: the lower quantiles of block variances by brightness follow M. Colom, A. Buades, Analysis and extension of the
percentile method, estimating a noise curve from a single image, Image Processing On Line 3, 2013.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .arrays import Array, Float64, FloatArray, color_channels, convert
from .level_model import MODEL
from .sampling import sample_windows

STRIDES_PX = (1, 2, 3, 6)
QUANTILES = (0.1, 0.5)
BLOCKS_PX = {64: 16, 16: 8, 10: 4}
"""Sides of the blocks, by the least side of an image."""
MOST_BINS = 6
BLOCKS_PER_BIN = 4
CLIPPED_SHARE = 0.05
"""A block with more pixels at black or white than this does not count, while others are left."""
STRIP_VALUES = 2**16
"""Colors that are looked at at once, at least those of one row of blocks."""
_SIZE_TO_SQUARE = math.pi / 2
"""The mean square of a normal variable over the square of its mean size."""
MOST_BEYOND = 3.0
"""A level is at most so many times what the flat parts show at stride 3: a clean flat image has none."""
_LEAST = 0.15 / 255
"""Added to each number as noise of its own, so that a flat image has a logarithm."""

_LEAST_VARIANCE = 2e-7
"""Added to variances for their logarithms; 0.1 of 255, squared."""


@dataclass(frozen=True)
class Statistics:
    """What the level is computed from."""

    deviations: Float64
    """Standard deviations of differences where white is 1, (2, strides, quantiles): from mean squares, and from mean sizes
    as if the differences were normal; for each of `STRIDES_PX` and each of `QUANTILES`."""
    unevenness: float | None
    """How much the spectrum differs between the flat blocks of an image: the standard deviation of the logarithm of their
    variances at stride 1 over those at stride 3, of brightness. None for an image without blocks of 16 x 16."""


def measure_level(image: Array) -> float:
    """Return the noise level of an image, whatever the noise's correlation.

    Images of more than a megapixel are measured on 64 windows.

    Args:
        image: (H, W, C) with C from 1 to 4; uint8, uint16 or float32 of about 0..1; read only. Alpha does not count.

    Returns:
        The standard deviation of the noise over pixels and color channels, where white is 1, 0 to 1; 0 for an image with
        a side of less than 10 pixels.
    """
    found = statistics(image)
    return 0.0 if found is None else level_of(found.deviations)


def level_of(deviations: Float64) -> float:
    """Return the level that the regression gives for the deviations of `statistics`, 0 to 1."""
    level = math.exp(MODEL.log_level(features(deviations))) / 255
    return float(min(1.0, level, MOST_BEYOND * deviations[0, STRIDES_PX.index(3), 0]))


def features(deviations: Float64) -> Float64:
    """Return what the regression works on, (11,): how strong the differences are, how smooth, how uneven, how rare.

    Logarithms on the scale of 0 to 255: that of the flat parts at stride 3; what the other strides have more; what average
    parts have more, at three strides; and what root mean squares have more than mean sizes, which is nothing for noise and
    much for edges and texture.
    """
    logs = 0.5 * np.log(np.square(255 * deviations) + np.square(255 * _LEAST))
    flat, average = logs[0, :, 0], logs[0, :, 1]
    uneven, rare = average - flat, logs[0] - logs[1]
    chosen: Float64 = np.array([flat[2], *(flat[[0, 1, 3]] - flat[2]), *uneven[[0, 2, 3]], rare[2, 0], *rare[[2, 0, 3], 1]])
    return chosen


def statistics(image: Array) -> Statistics | None:
    """Return how far pixels differ from those some way off, in the flat and in the average parts of an image.

    Args:
        image: As for `measure_level`.

    Returns:
        None for an image that is too small.
    """
    side = min(image.shape[:2])
    block = next((block for least, block in BLOCKS_PX.items() if side >= least), None)
    if block is None:
        return None
    colors = image[..., : color_channels(image.shape[2])]
    windows = (colors[window] for window in sample_windows(*image.shape[:2]))
    parts = [_blocks(strip, block) for window in windows for strip in _strips(window, block)]
    energies, brightness, clipped = (np.concatenate(column, axis=-1) for column in zip(*parts, strict=True))
    keep = clipped < CLIPPED_SHARE
    if keep.sum() < max(BLOCKS_PER_BIN, CLIPPED_SHARE * keep.size):
        keep[:] = True
    order = np.argsort(brightness[keep], kind="stable")
    energies = energies[..., keep][..., order]
    bins = np.array_split(energies, max(1, min(MOST_BINS, len(order) // BLOCKS_PER_BIN)), axis=-1)
    ordered = [np.sort(each, axis=-1) for each in bins]
    luma, color = np.mean([each[..., [int(share * (each.shape[-1] - 1)) for share in QUANTILES]] for each in ordered], axis=0)
    deviations: Float64 = np.sqrt(luma if colors.shape[2] == 1 else (luma + 2 * color) / 3)
    return Statistics(deviations, _unevenness(energies[0, 0]) if block == max(BLOCKS_PX.values()) else None)


def _unevenness(energies: Float64) -> float:
    """Return the `unevenness` of (strides, blocks) mean squares, over the flatter half of the blocks."""
    at_2 = energies[STRIDES_PX.index(2)]
    flat = np.log(energies[:, at_2 <= np.median(at_2)] + _LEAST_VARIANCE)
    return float(np.std(flat[STRIDES_PX.index(1)] - flat[STRIDES_PX.index(3)]))


def _strips(window: Array, block: int) -> Iterator[Array]:
    """Cut a window into whole rows of blocks, few at a time: what is computed of them stays in the processor's cache."""
    reach = max(STRIDES_PX)
    height = (window.shape[0] - reach) // block * block
    step = block * max(1, STRIP_VALUES // (block * window[0].size))
    for top in range(0, height, step):
        yield window[top : min(top + step, height) + reach]


def _blocks(strip: Array, block: int) -> tuple[Float64, Float64, Float64]:
    """Return for each block of (H, W, 1 or 3) the squares of differences, brightness, and the share of clipped pixels.

    The first is (2, 2, strides, blocks): of brightness, and the mean of two color differences, which is 0 for gray; from mean
    squares, and from mean sizes. Brightness is halved.
    """
    height, width = ((length - max(STRIDES_PX)) // block * block for length in strip.shape[:2])
    colors = convert(np.ascontiguousarray(strip.transpose(2, 0, 1)), np.float32)
    planes = _halved_planes(colors)
    sums = np.empty((2, len(STRIDES_PX), len(planes), height // block, width), np.float32)
    detail = np.zeros_like(planes[:, :height])
    for number, stride in enumerate(STRIDES_PX):
        free = _diagonal(planes, stride, detail)
        sums[0, number] = _row_sums(np.square(detail, out=free), block, width)
        sums[1, number] = _row_sums(np.abs(detail, out=free), block, width)
    squares = _means(sums, block)
    squares[1] = np.square(squares[1]) * _SIZE_TO_SQUARE
    energies: Float64 = np.stack([squares[:, :, 0], squares[:, :, 1:].sum(axis=2) / 2])
    inner = colors[:, :height, :width]
    at_end = np.minimum(np.abs(inner), np.abs(inner - 1)).min(axis=0) < 0.6 / 255
    brightness, clipped = _means(_row_sums(np.stack([planes[0, :height, :width], at_end]), block, width), block)
    return energies, brightness, clipped


def _halved_planes(colors: FloatArray) -> FloatArray:
    """Return half of a gray plane, (1, H, W), or of brightness and two color differences, (3, H, W).

    The three are orthonormal: white noise stays white, and as strong.
    """
    if len(colors) == 1:
        return colors * np.float32(0.5)
    red, green, blue = colors
    planes: FloatArray = np.stack([red + green + blue, red - blue, red - 2 * green + blue])
    planes *= np.array([3**-0.5 / 2, 2**-0.5 / 2, 6**-0.5 / 2], np.float32)[:, None, None]
    return planes


def _diagonal(planes: FloatArray, stride: int, detail: FloatArray) -> FloatArray:
    """Write the mixed difference of pixels some way off: of halved white noise as strong as the noise, of a slope nothing.

    The last columns of `detail`, as many as `stride`, mean nothing. Returns an array of its shape for further use.
    """
    height = detail.shape[1]
    rows: FloatArray = planes[:, :height] - planes[:, stride : stride + height]
    np.subtract(rows.reshape(-1)[:-stride], rows.reshape(-1)[stride:], out=detail.reshape(-1)[:-stride])
    return rows


def _row_sums(planes: FloatArray, block: int, width: int) -> FloatArray:
    """Return the sums of each of the first columns of each row of blocks, (N, H / block, width) of (N, H, W)."""
    count, height, _ = planes.shape
    sums: FloatArray = planes.reshape(count, height // block, block, -1)[..., :width].sum(axis=2)
    return sums


def _means(rows: FloatArray, block: int) -> Float64:
    """Return the means of blocks, (..., blocks) of their `_row_sums`."""
    means: Float64 = rows.reshape(*rows.shape[:-2], -1, block).sum(axis=-1, dtype=np.float64) / block**2
    return means
