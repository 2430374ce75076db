"""Memory limits: the engine's need per pixel, and the pixels of one run."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..contract import ImageSpec, Shape
from ..errors import DeviceError, InputError
from .tiles import STEP_PX, smallest_tile

ENGINE_SHARE = 0.4
"""Share of a memory limit for the engine; the rest is for the images."""
PROBE_PX = 2**16
"""Pixels of the largest run for measuring the engine's need."""
MIN_BYTES_PER_PIXEL = 256
"""Lower bound of a measurement, which may find memory left by an earlier model."""
UNMEASURED_BYTES_PER_PIXEL = 2048
"""Assumed need where it cannot be measured: outside Linux, and on a GPU."""
_MARGIN = 1.1
"""Safety factor on the measured need in messages; measurements vary a little."""
_SHORTAGE = ("allocate", "bad_alloc", "bad allocation", "out of memory", "alloc_failed", "memoryallocation")


@dataclass(frozen=True)
class Limits:
    """Limits of one run of the engine."""

    run_px: int
    """Most pixels of a run over all images of a batch (at least one image or tile)."""
    tile_px: int | None
    """Largest side of a tile; None for a model that cannot be tiled."""
    tile_above_px: int
    """Images with more pixels are tiled."""

    def halved(self, smallest_px: int) -> Limits | None:
        """Return the limits for tiles of half the side; None for the smallest."""
        if self.tile_px is None or (self.tile_px <= smallest_px and self.run_px <= smallest_px**2):
            return None
        side = max(min(self.tile_px, math.isqrt(self.run_px)) // 2, smallest_px)
        return Limits(side * side, side, side * side)


def default_limits(images: ImageSpec, run_px: int) -> Limits:
    """Return the default limits: tiles that fill a run, for images more than twice as large."""
    return Limits(run_px, math.isqrt(run_px) if images.tileable else None, 2 * run_px)


def tile_limits(images: ImageSpec, limits: Limits, tile_px: int) -> Limits:
    """Return the limits for a requested tile size.

    Raises:
        InputError: The model cannot be tiled, or needs larger tiles.
    """
    least = _smallest_tile(images, "a tile size")
    if tile_px < least:
        raise InputError(
            f"tiles of {tile_px} pixels are too small for this model, which needs at least {least}. Give a larger "
            "tile size, or leave it out."
        )
    return Limits(max(limits.run_px, tile_px**2), tile_px, tile_px**2)


def memory_limits(
    images: ImageSpec, limits: Limits, bytes_per_pixel: float, max_memory_mb: int, share: float = ENGINE_SHARE
) -> Limits:
    """Return the limits that keep the engine's memory within its share of `max_memory_mb`.

    Raises:
        InputError: Not even the smallest tile or one window fits, or the model cannot be tiled.
    """
    least_px = smallest_run(images)
    run_px = int(share * max_memory_mb * 2**20 / bytes_per_pixel)
    if run_px < least_px:
        needed = math.ceil(_MARGIN * least_px * bytes_per_pixel / share / 2**20)
        raise InputError(f"max_memory_mb must be at least {needed} for this model, not {max_memory_mb}.")
    run_px = min(run_px, limits.run_px)
    if images.fixed_size is not None:
        return Limits(run_px, None, limits.tile_above_px)
    side = min(math.isqrt(run_px) // STEP_PX * STEP_PX, limits.tile_px or run_px)
    return Limits(run_px, max(side, math.isqrt(least_px)), run_px)


def smallest_run(images: ImageSpec) -> int:
    """Return the pixels of the smallest run for images of any size: one window, or the smallest tile.

    Raises:
        InputError: The model cannot be tiled.
    """
    if images.fixed_size is not None:
        return math.prod(images.fixed_size)
    return _smallest_tile(images, "a memory limit") ** 2


def probe_shape(images: ImageSpec, pixels: int) -> Shape:
    """Return the (N, H, W, C) of a run of at most `pixels` pixels: one tile, or several windows."""
    if images.fixed_size is not None:
        return (max(1, pixels // math.prod(images.fixed_size)), *images.fixed_size, images.channels)
    unit = math.lcm(STEP_PX, images.alignment_px)
    side = max(1, math.isqrt(pixels) // unit) * unit
    return (1, side, side, images.channels)


def bytes_per_pixel(run: Callable[[int], int], least_px: int, budget_bytes: float) -> float:
    """Measure the bytes per pixel of a run with a fresh engine; an upper bound for larger runs.

    The engine keeps its memory, so the growth of the process is the need of its largest run, start-up included. Runs grow from
    the smallest as far as the measurements so far fit the budget.

    Args:
        run: Runs the engine on about this many pixels and returns the exact number.
        least_px: Pixels of the smallest run.
        budget_bytes: Memory limit of the engine.
    """
    before = resident_bytes()
    wanted = least_px
    while True:
        pixels = run(wanted)
        after = resident_bytes()
        if before is None or after is None:
            return UNMEASURED_BYTES_PER_PIXEL
        need = max((after - before) / pixels, MIN_BYTES_PER_PIXEL)
        wanted = min(int(budget_bytes / need), PROBE_PX)
        if wanted < 2 * pixels:
            return need


def resident_bytes() -> int | None:
    """Return the resident memory of this process in bytes; None outside Linux."""
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def is_shortage(error: BaseException) -> bool:
    """Tell whether an error means out of memory; the engine has no exception type for it."""
    if isinstance(error, MemoryError):
        return True
    text = str(error.__cause__ or error).lower()
    return isinstance(error, DeviceError) and any(word in text for word in _SHORTAGE)


def _smallest_tile(images: ImageSpec, what: str) -> int:
    if images.fixed_size is not None:
        raise InputError(f"{what} cannot be used: this model takes windows of {images.fixed_size} pixels. Leave it out.")
    if images.halo_px is None:
        raise InputError(f"{what} cannot be used: each output pixel of this model depends on the whole image. Leave it out.")
    return smallest_tile(images.alignment_px, images.halo_px)
