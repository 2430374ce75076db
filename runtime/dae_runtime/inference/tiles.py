"""Large images through a network of free size: tiles that overlap by what the network sees, so that the result is the same.

An output pixel depends on the input pixels up to the contract's halo around it. A tile that begins at a multiple of the
alignment and holds the halo around what is kept of it therefore gives those pixels exactly as the whole image does; at the
image's border the network sees its own zero padding in both. docs/model-file.md, "What a reader does", point 4.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from ..pixels.arrays import Array, blend
from .controls import Shares

STEP_PX = 32
"""Sides of tiles are multiples of this, and so of few shapes: the engine plans its memory anew for every shape."""


@dataclass(frozen=True)
class Span:
    """A tile along one axis, in pixels of the image extended to the alignment."""

    start_px: int
    """Where the tile begins."""
    keep_px: int
    """Where what is kept of it begins."""
    end_px: int
    """Where what is kept of it ends, at most the image's own size."""


@dataclass(frozen=True)
class Tiling:
    """How images of one size are cut. Every tile has the same shape."""

    height_px: int
    """Of each tile."""
    width_px: int
    rows: tuple[Span, ...]
    columns: tuple[Span, ...]

    def places(self) -> Iterator[tuple[Span, Span]]:
        """Yield the row and the column of each tile."""
        return itertools.product(self.rows, self.columns)


def plan_tiles(size_px: tuple[int, int], largest_px: int, alignment_px: int, halo_px: int) -> Tiling:
    """Cut an image into tiles of one shape.

    The tiles share the image evenly, so that little is computed twice.

    Args:
        size_px: Height and width of the image.
        largest_px: Largest side of a tile; raised to the smallest that works, `smallest_tile`.
        alignment_px: What positions and sides must be multiples of.
        halo_px: What a tile must hold around the pixels that are kept of it.
    """
    largest_px = max(largest_px, smallest_tile(alignment_px, halo_px))
    sides = [_side(length, largest_px, alignment_px, halo_px) for length in size_px]
    rows, columns = (_spans(length, side, alignment_px, halo_px) for length, side in zip(size_px, sides, strict=True))
    return Tiling(sides[0], sides[1], rows, columns)


def smallest_tile(alignment_px: int, halo_px: int) -> int:
    """Return the smallest side of a tile that is worth its halo: half of it at least is kept."""
    # Twice the alignment holds what is mirrored beyond the bottom and the right.
    return _up(max(4 * _up(halo_px, alignment_px), 2 * alignment_px), math.lcm(STEP_PX, alignment_px))


def cut_tiles(
    image: Array, result: Array, tiling: Tiling, tiles_per_run: int, shares: Shares
) -> Iterator[tuple[Array, Callable[[Array], None]]]:
    """Cut an image into tiles.

    Args:
        image: (H, W, C); read only.
        result: (H, W, C), written to as the tiles are placed.
        tiling: From `plan_tiles` for this size.
        tiles_per_run: Tiles that are yielded at once.
        shares: How much of the change is taken.

    Yields:
        Tiles (M, tile height, tile width, C), and what puts their denoised versions into the result.
    """
    places = tiling.places()
    while group := list(itertools.islice(places, tiles_per_run)):
        tiles = np.stack([_cut(image, tiling, *place) for place in group])
        yield tiles, partial(_place, result, group, tiles, shares)


def _place(result: Array, places: list[tuple[Span, Span]], tiles: Array, shares: Shares, clean: Array) -> None:
    for (row, column), tile in zip(places, blend(tiles, clean, *shares), strict=True):
        kept = tile[row.keep_px - row.start_px : row.end_px - row.start_px]
        kept = kept[:, column.keep_px - column.start_px : column.end_px - column.start_px]
        result[row.keep_px : row.end_px, column.keep_px : column.end_px] = kept


def _cut(image: Array, tiling: Tiling, row: Span, column: Span) -> Array:
    """Return one tile, extended by reflection where it reaches over the bottom or the right."""
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
    starts = [*range(0, padded - side, side - 2 * margin), padded - side]  # the last ends with the image, so all are alike
    keeps = [0, *(start + margin for start in starts[1:])]
    keeps[-1] = starts[-2] + side - margin
    return tuple(map(Span, starts, keeps, [*keeps[1:], length]))


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
