"""Memory: how much of it the engine takes, and how much of an image it may get at once."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .contract import Contract
from .errors import DeviceError, InputError
from .tiles import STEP_PX, smallest_tile

ENGINE_SHARE = 0.4
"""Part of a memory limit that the engine may fill; the rest is for the images themselves."""
PROBE_SIDE_PX = 256
"""Side of the image that the engine's need is measured on."""
LEAST_BYTES_PER_PIXEL = 256
"""What an engine is taken to need at least, for a measurement that found memory ready from an earlier model."""
UNMEASURED_BYTES_PER_PIXEL = 2048
"""What it is taken to need where it cannot be measured: outside Linux, and on a GPU."""
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


def default_limits(model: Contract, run_px: int) -> Limits:
    """Return the limits where the caller sets none: tiles that fill a run, for images more than twice as large."""
    return Limits(run_px, math.isqrt(run_px) if tileable(model) else None, 2 * run_px)


def tile_limits(model: Contract, limits: Limits, tile_px: int) -> Limits:
    """Return the limits for tiles of a wanted size.

    Raises:
        InputError: The model cannot be tiled, or needs larger tiles.
    """
    least = _least_tile(model, "a tile size")
    if tile_px < least:
        raise InputError(f"tiles of {tile_px} pixels are too small for this model, which needs {least} at least.")
    return Limits(max(limits.run_px, tile_px**2), tile_px, tile_px**2)


def memory_limits(model: Contract, limits: Limits, bytes_per_pixel: float, max_memory_mb: int) -> Limits:
    """Return the limits under which the engine's memory stays within its share of `max_memory_mb`.

    Raises:
        InputError: Not even the smallest tile fits, or the model cannot be tiled.
    """
    if model.fixed_size is not None:
        return limits  # its windows are small
    least = _least_tile(model, "a memory limit")
    run_px = int(ENGINE_SHARE * max_memory_mb * 2**20 / bytes_per_pixel)
    if run_px < least**2:
        needed = math.ceil(least**2 * bytes_per_pixel / ENGINE_SHARE / 2**20)
        raise InputError(f"max_memory_mb must be at least {needed} for this model, not {max_memory_mb}.")
    run_px = min(run_px, limits.run_px)
    side = min(math.isqrt(run_px) // STEP_PX * STEP_PX, limits.tile_px or run_px)
    return Limits(run_px, max(side, least), run_px)


def tileable(model: Contract) -> bool:
    """Tell whether tiles of this model give what the whole image gives."""
    return model.fixed_size is None and model.halo_px is not None


def bytes_per_pixel(run: Callable[[int], object]) -> float:
    """Measure what a fresh engine takes per pixel of one run; a bound from above for larger runs.

    The engine keeps what it once took, so the growth of the process over its first run is what the run needed, the engine's
    own start-up included.

    Args:
        run: Runs the engine on one image of this side in pixels.
    """
    before = resident_bytes()
    run(PROBE_SIDE_PX)
    after = resident_bytes()
    if before is None or after is None:
        return UNMEASURED_BYTES_PER_PIXEL
    return max((after - before) / PROBE_SIDE_PX**2, LEAST_BYTES_PER_PIXEL)


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


def _least_tile(model: Contract, what: str) -> int:
    if model.fixed_size is not None:
        raise InputError(f"{what} has no use here: this model takes windows of {model.fixed_size} pixels. Leave it out.")
    if model.halo_px is None:
        raise InputError(
            f"{what} has no use here: each pixel of this model's result depends on the whole image. Leave it out."
        )
    return smallest_tile(model.alignment_px, model.halo_px)
