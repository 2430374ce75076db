"""Memory: how much of it the engine takes, and how much of an image it may get at once."""

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
"""Part of a memory limit that the engine may fill; the rest is for the images themselves."""
PROBE_PX = 2**16
"""Pixels of the largest run that the engine's need is measured on."""
LEAST_BYTES_PER_PIXEL = 256
"""What an engine is taken to need at least, for a measurement that found memory ready from an earlier model."""
UNMEASURED_BYTES_PER_PIXEL = 2048
"""What it is taken to need where it cannot be measured: outside Linux, and on a GPU."""
_MARGIN = 1.1
"""What is named as the least memory is this much more than was measured, which differs a little from one time to the next."""
_SHORTAGE = ("allocate", "bad_alloc", "bad allocation", "out of memory", "alloc_failed", "memoryallocation")


@dataclass(frozen=True)
class Limits:
    """How much one run of the engine may get."""

    run_px: int
    """Pixels of a run at most, over all images of a batch (one image or tile at least)."""
    tile_px: int | None
    """Largest side of a tile; None for a model that cannot be tiled."""
    tile_above_px: int
    """Images of more pixels than this are tiled."""

    def halved(self, smallest_px: int) -> Limits | None:
        """Return the limits for tiles of half the side, or None if these are the smallest."""
        if self.tile_px is None or (self.tile_px <= smallest_px and self.run_px <= smallest_px**2):
            return None
        side = max(min(self.tile_px, math.isqrt(self.run_px)) // 2, smallest_px)
        return Limits(side * side, side, side * side)


def default_limits(images: ImageSpec, run_px: int) -> Limits:
    """Return the limits where the caller sets none: tiles that fill a run, for images more than twice as large."""
    return Limits(run_px, math.isqrt(run_px) if images.tileable else None, 2 * run_px)


def tile_limits(images: ImageSpec, limits: Limits, tile_px: int) -> Limits:
    """Return the limits for tiles of a wanted size.

    Raises:
        InputError: The model cannot be tiled, or needs larger tiles.
    """
    least = _least_tile(images, "a tile size")
    if tile_px < least:
        raise InputError(
            f"tiles of {tile_px} pixels are too small for this model, which needs {least} at least. Give a larger "
            "tile size, or leave it out."
        )
    return Limits(max(limits.run_px, tile_px**2), tile_px, tile_px**2)


def memory_limits(
    images: ImageSpec, limits: Limits, bytes_per_pixel: float, max_memory_mb: int, share: float = ENGINE_SHARE
) -> Limits:
    """Return the limits under which the engine's memory stays within its share of `max_memory_mb`.

    Raises:
        InputError: Not even the smallest tile or one window fits, or the model cannot be tiled.
    """
    least_px = least_run(images)
    run_px = int(share * max_memory_mb * 2**20 / bytes_per_pixel)
    if run_px < least_px:
        needed = math.ceil(_MARGIN * least_px * bytes_per_pixel / share / 2**20)
        raise InputError(f"max_memory_mb must be at least {needed} for this model, not {max_memory_mb}.")
    run_px = min(run_px, limits.run_px)
    if images.fixed_size is not None:
        return Limits(run_px, None, limits.tile_above_px)
    side = min(math.isqrt(run_px) // STEP_PX * STEP_PX, limits.tile_px or run_px)
    return Limits(run_px, max(side, math.isqrt(least_px)), run_px)


def least_run(images: ImageSpec) -> int:
    """Return the pixels of the smallest run of the engine that serves images of any size: one window, or the smallest tile.

    Raises:
        InputError: The model cannot be tiled.
    """
    if images.fixed_size is not None:
        return math.prod(images.fixed_size)
    return _least_tile(images, "a memory limit") ** 2


def probe_shape(images: ImageSpec, pixels: int) -> Shape:
    """Return the (N, H, W, C) of a run of so many pixels, or of a few less: one tile, or as many windows as that takes."""
    if images.fixed_size is not None:
        return (max(1, pixels // math.prod(images.fixed_size)), *images.fixed_size, images.channels)
    unit = math.lcm(STEP_PX, images.alignment_px)
    side = max(1, math.isqrt(pixels) // unit) * unit
    return (1, side, side, images.channels)


def bytes_per_pixel(run: Callable[[int], int], least_px: int, budget_bytes: float) -> float:
    """Measure what a fresh engine takes per pixel of one run; a bound from above for larger runs.

    The engine keeps what it once took, so the growth of the process is what its largest run needed, the engine's own start-up
    included. The runs grow, from the smallest, only as far as what was measured so far says that the budget allows.

    Args:
        run: Runs the engine on about so many pixels, and returns how many they were.
        least_px: Pixels of the smallest run.
        budget_bytes: What the engine may take.
    """
    before = resident_bytes()
    wanted = least_px
    while True:
        pixels = run(wanted)
        after = resident_bytes()
        if before is None or after is None:
            return UNMEASURED_BYTES_PER_PIXEL
        need = max((after - before) / pixels, LEAST_BYTES_PER_PIXEL)
        wanted = min(int(budget_bytes / need), PROBE_PX)
        if wanted < 2 * pixels:
            return need


def resident_bytes() -> int | None:
    """Return the memory that this process holds, or None where the system does not tell (outside Linux)."""
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def is_shortage(error: BaseException) -> bool:
    """Tell whether an error means that memory ran out: the engine has no kind of its own for it."""
    if isinstance(error, MemoryError):
        return True
    text = str(error.__cause__ or error).lower()
    return isinstance(error, DeviceError) and any(word in text for word in _SHORTAGE)


def _least_tile(images: ImageSpec, what: str) -> int:
    if images.fixed_size is not None:
        raise InputError(f"{what} has no use here: this model takes windows of {images.fixed_size} pixels. Leave it out.")
    if images.halo_px is None:
        raise InputError(
            f"{what} has no use here: each pixel of this model's result depends on the whole image. Leave it out."
        )
    return smallest_tile(images.alignment_px, images.halo_px)
