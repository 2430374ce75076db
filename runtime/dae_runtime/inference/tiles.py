"""Denoise large images in tiles that overlap by the network's halo, with the same result as for the whole image.

An output pixel depends on input pixels up to the contract's halo around it. A tile that starts at a multiple of the alignment
and includes the halo around its kept pixels therefore gives these pixels exactly as the whole image does; at the border of
the image the network sees its own zero padding in both. docs/model-file.md, "What a reader does", point 4.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from ..pixels.arrays import Array, blend
from ..pixels.channels import copy_channels
from .controls import Shares

STEP_PX = 32
"""Sides of tiles are multiples of this: the engine plans its memory for every new shape, so few shapes are best."""


@dataclass(frozen=True)
class Span:
    """A tile along one axis, in pixels of the image extended to the alignment."""

    start_px: int
    """Start of the tile."""
    keep_px: int
    """Start of its kept pixels."""
    end_px: int
    """End of its kept pixels, at most the size of the image."""


_Place = tuple[Span, Span]
_Finished = tuple[_Place, Array]
"""A denoised tile that is not in the result yet, and its place."""


@dataclass(frozen=True)
class Tiling:
    """The tiles of images of one size, all of the same shape."""

    height_px: int
    """Of each tile."""
    width_px: int
    rows: tuple[Span, ...]
    columns: tuple[Span, ...]

    def places(self) -> Iterator[_Place]:
        """Yield the row and the column of each tile."""
        return itertools.product(self.rows, self.columns)


def plan_tiles(size_px: tuple[int, int], largest_px: int, alignment_px: int, halo_px: int) -> Tiling:
    """Cut an image into tiles of one shape.

    The tiles divide the image evenly, to compute little twice.

    Args:
        size_px: Height and width of the image.
        largest_px: Largest side of a tile; raised to `smallest_tile` if below.
        alignment_px: Positions and sides must be multiples of this.
        halo_px: Pixels that a tile must hold around its kept pixels.
    """
    largest_px = max(largest_px, smallest_tile(alignment_px, halo_px))
    sides = [_side(length, largest_px, alignment_px, halo_px) for length in size_px]
    rows, columns = (_spans(length, side, alignment_px, halo_px) for length, side in zip(size_px, sides, strict=True))
    return Tiling(sides[0], sides[1], rows, columns)


def smallest_tile(alignment_px: int, halo_px: int) -> int:
    """Return the smallest side of a tile that keeps at least half of its pixels per axis."""
    # Twice the alignment holds the reflection beyond the bottom and the right.
    return _up(max(4 * _up(halo_px, alignment_px), 2 * alignment_px), math.lcm(STEP_PX, alignment_px))


def cut_tiles(
    image: Array, result: Array, tiling: Tiling, tiles_per_run: int, shares: Shares
) -> Iterator[tuple[Array, Callable[[Array], None]]]:
    """Cut an image into tiles.

    Args:
        image: (H, W, C); read only.
        result: (H, W, C), written as the tiles are placed; may be the image: then as soon as no later tile reads there.
        tiling: From `plan_tiles` for this size.
        tiles_per_run: Tiles yielded at once.
        shares: Shares of the change to apply.

    Yields:
        Tiles (M, tile height, tile width, C), and a function that writes their denoised versions to the result.
    """
    places, finished, is_same = tiling.places(), deque[_Finished](), np.may_share_memory(image, result)
    while group := list(itertools.islice(places, tiles_per_run)):
        _write(finished, result, group[0][0].start_px if is_same else math.inf)
        tiles = np.empty((len(group), tiling.height_px, tiling.width_px, image.shape[2]), image.dtype)
        for tile, place in zip(tiles, group, strict=True):
            copy_channels(_cut(image, tiling, *place), tile)
        yield tiles, partial(_finish, finished, group, tiles, shares)
    _write(finished, result, math.inf)


def _finish(finished: deque[_Finished], places: list[_Place], tiles: Array, shares: Shares, clean: Array) -> None:
    finished.extend(zip(places, blend(tiles, clean, *shares), strict=True))


def _write(finished: deque[_Finished], result: Array, read_from_px: float) -> None:
    """Write the tiles that end above the row which is read from now on."""
    while finished and finished[0][0][0].end_px <= read_from_px:
        (row, column), tile = finished.popleft()
        kept = tile[row.keep_px - row.start_px : row.end_px - row.start_px]
        kept = kept[:, column.keep_px - column.start_px : column.end_px - column.start_px]
        copy_channels(kept, result[row.keep_px : row.end_px, column.keep_px : column.end_px])


def _cut(image: Array, tiling: Tiling, row: Span, column: Span) -> Array:
    """Return one tile, extended by reflection beyond the bottom and the right."""
    tile = image[row.start_px : row.start_px + tiling.height_px, column.start_px : column.start_px + tiling.width_px]
    bottom, right = tiling.height_px - tile.shape[0], tiling.width_px - tile.shape[1]
    if bottom == right == 0:
        return tile
    return np.pad(tile, ((0, bottom), (0, right), (0, 0)), mode="reflect")


def _side(length: int, largest: int, alignment: int, halo: int) -> int:
    padded, margin = _up(length, alignment), 2 * _up(halo, alignment)
    step = math.lcm(STEP_PX, alignment)
    largest = largest // step * step
    if padded <= largest:
        return padded
    count = -(-(padded - margin) // (largest - margin))
    return min(_up(-(-(padded + (count - 1) * margin) // count), step), largest)


def _spans(length: int, side: int, alignment: int, halo: int) -> tuple[Span, ...]:
    padded, margin = _up(length, alignment), _up(halo, alignment)
    if side >= padded:
        return (Span(0, 0, length),)
    starts = [*range(0, padded - side, side - 2 * margin), padded - side]  # the last ends with the image: equal shapes
    keeps = [0, *(start + margin for start in starts[1:])]
    keeps[-1] = starts[-2] + side - margin
    return tuple(map(Span, starts, keeps, [*keeps[1:], length]))


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
