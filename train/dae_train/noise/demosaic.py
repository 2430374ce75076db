"""A sensor's mosaic of colors, and the noise that it leaves in a developed picture.

Sources:
    Malvar, He, Cutler: High-quality linear interpolation for demosaicing of Bayer-patterned color images. ICASSP 2004.
    Hamilton, Adams: Adaptive color plan interpolation in single sensor color electronic camera. US patent 5,629,734, 1997
    (expired): green along the direction in which the mosaic changes less; red and blue by their differences to it.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from keras import ops, random

Seed: TypeAlias = Any

_SAME = np.zeros((5, 5), np.float32)
_SAME[2, 2] = 1
_CROSS = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], np.float32) / 4
_ROW = np.array([[0, 0, 0], [1, 0, 1], [0, 0, 0]], np.float32) / 2
_DIAGONAL = np.array([[1, 0, 1], [0, 0, 0], [1, 0, 1]], np.float32) / 4
_BILINEAR = [np.pad(kernel, 1) for kernel in (_CROSS, _ROW, _ROW.T, _DIAGONAL)]
_MALVAR_GREEN = np.array([[0, 0, -1, 0, 0], [0, 0, 2, 0, 0], [-1, 2, 4, 2, -1], [0, 0, 2, 0, 0], [0, 0, -1, 0, 0]]) / 8
_MALVAR_ROW = np.array([[0, 0, 0.5, 0, 0], [0, -1, 0, -1, 0], [-1, 4, 5, 4, -1], [0, -1, 0, -1, 0], [0, 0, 0.5, 0, 0]]) / 8
_MALVAR_DIAGONAL = (
    np.array([[0, 0, -1.5, 0, 0], [0, 2, 0, 2, 0], [-1.5, 0, 6, 0, -1.5], [0, 2, 0, 2, 0], [0, 0, -1.5, 0, 0]]) / 8
)
_MALVAR = [_MALVAR_GREEN, _MALVAR_ROW, _MALVAR_ROW.T, _MALVAR_DIAGONAL]
_KERNELS = np.stack([_SAME, *_BILINEAR, *_MALVAR], axis=-1)[:, :, np.newaxis].astype(np.float32)
"""(5, 5, 1, 9): a value itself; then bilinear and by Malvar: green at red or blue, red or blue from its row, from its column,
and from the diagonals."""
_LINES = [
    np.pad(np.array([line], np.float32), ((2, 2), (0, 0)))
    for line in ([-0.25, 0.5, 0.5, 0.5, -0.25], [0, -1, 0, 1, 0], [-1, 0, 2, 0, -1])
]
_DIRECTED = np.stack([kernel for line in _LINES for kernel in (line, line.T)], axis=-1)[:, :, np.newaxis]
"""(5, 5, 1, 6): along the row and along the column: green at red or blue; how green changes; how the own color bends."""


def bayer(count: Any, height: int, width: int, seed: Seed) -> Any:
    """Return which color each site of a mosaic sees, (N, H, W, 3) of 0 and 1, in one of the four patterns for each image."""
    rows, columns = ops.arange(height)[None, :, None, None], ops.arange(width)[None, None, :, None]
    down, right = (ops.cast(random.uniform((count, 1, 1, 1), seed=seed) < 0.5, "int32") for _ in range(2))
    odd_row, odd_column = (rows + down) % 2 == 1, (columns + right) % 2 == 1
    red, blue = ~odd_row & ~odd_column, odd_row & odd_column
    return ops.cast(ops.concatenate([red, ~(red | blue), blue], axis=-1), "float32")


def developed_noise(noise: Any, scene: Any, sites: Any, method: Any) -> Any:
    """Return the noise of a demosaiced picture, (N, H, W, 3): all three colors at every site.

    That of the edge-aware method is the difference of two pictures, developed with noise and without it. Its choice of a
    direction is not linear, so that the scene must take part; but what it does to the scene alone cancels, and a clean image
    to which the difference is added stays the target as it is. As a target, a clean picture developed from its own mosaic
    would teach a network to soften, and to keep the method's mistakes at edges.

    Args:
        noise: (N, H, W, 1), of the mosaic.
        scene: (N, H, W, 1), the mosaic without noise.
        sites: As from `bayer`.
        method: (N, 1, 1, 1) in 0..1: below 1/3 bilinear, below 2/3 as Malvar et al., else edge-aware.
    """
    linear = interpolated(noise, sites, method < 1 / 3)
    return ops.where(method < 2 / 3, linear, _edge_aware(noise, scene, sites))


def interpolated(mosaic: Any, sites: Any, bilinear: Any) -> Any:
    """Return all three colors at every site, (N, H, W, 3), by the linear methods.

    Args:
        mosaic: (N, H, W, 1).
        sites: As from `bayer`.
        bilinear: (N, 1, 1, 1): whether to interpolate bilinearly, and as Malvar et al. otherwise.
    """
    found = ops.conv(_reflected(mosaic, 2), _KERNELS, padding="valid")
    own = found[..., :1]
    cross, row, column, diagonal = ops.split(ops.where(bilinear, found[..., 1:5], found[..., 5:]), 4, axis=-1)
    red, green, blue = ops.split(sites, 3, axis=-1)
    red_rows, blue_rows = (ops.max(color, axis=2, keepdims=True) for color in (red, blue))

    def chroma(here: Any, rows: Any, other: Any) -> Any:
        return here * own + other * diagonal + green * (column + rows * (row - column))

    return ops.concatenate([chroma(red, red_rows, blue), cross + green * (own - cross), chroma(blue, blue_rows, red)], axis=-1)


def edge_aware(mosaic: Any, sites: Any) -> Any:
    """Return all three colors at every site, (N, H, W, 3), as Hamilton and Adams."""
    return _edge_aware(mosaic, ops.zeros_like(mosaic), sites)


def _edge_aware(noise: Any, scene: Any, sites: Any) -> Any:
    green = _green(scene + noise, sites) - _green(scene, sites)
    difference = noise - green

    def chroma(here: Any) -> Any:  # linear in the difference: noise needs no second picture here
        beside = _reflected(here * difference, 1)
        rows = beside[:, 1:-1] + (beside[:, :-2] + beside[:, 2:]) / 2
        return green + rows[:, :, 1:-1] + (rows[:, :, :-2] + rows[:, :, 2:]) / 2

    return ops.concatenate([chroma(sites[..., :1]), green, chroma(sites[..., 2:])], axis=-1)


def _green(mosaic: Any, sites: Any) -> Any:
    """Return green at every site, (N, H, W, 1)."""
    found = ops.conv(_reflected(mosaic, 2), _DIRECTED, padding="valid")
    row, column, *changes = ops.split(found, 6, axis=-1)
    along_row, along_column = (ops.abs(changes[i]) + ops.abs(changes[i + 2]) for i in range(2))
    either = ops.where(along_row < along_column, row, ops.where(along_column < along_row, column, (row + column) / 2))
    return ops.where(sites[..., 1:2] > 0, mosaic, either)


def _reflected(values: Any, by: int) -> Any:
    """Extend height and width; reflection keeps the pattern."""
    return ops.pad(values, [(0, 0), (by, by), (by, by), (0, 0)], mode="reflect")
