"""What an INT8 file must hold to be written: limits on what it loses, and on how little it gains."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import GateError
from .quality import Judgment


@dataclass(frozen=True)
class Limits:
    """How much worse than float32 an INT8 version may be."""

    psnr_drop_db: float
    """Largest loss of PSNR in dB."""
    color_shift: float
    """Largest mean shift of any channel, up or down, in 8-bit steps."""


def complaint(judgment: Judgment, limits: Limits) -> str | None:
    """Return which gates an INT8 version fails, and by how much; None if it passes."""
    found = []
    drop, allowed = judgment.drop_db, limits.psnr_drop_db
    if not drop <= allowed:
        estimated = "" if judgment.quality else " (estimated: there are no clean references)"
        found.append(
            f"loses {drop:.3f} dB of PSNR{estimated}, {drop - allowed:.3f} dB more than the {allowed:g} dB of --max-psnr-drop"
        )
    shift, allowed = max(judgment.color_shift, key=abs), limits.color_shift
    if not abs(shift) <= allowed:
        found.append(
            f"shifts a channel by {shift:+.2f} of 255 steps in the mean, {abs(shift) - allowed:.2f} more than the {allowed:g} "
            "of --max-color-shift"
        )
    return " and ".join(found) or None


def slower_than_float(speedup: float) -> str:
    """Say that an INT8 file takes longer than the float32 file of the same network, and what to do."""
    return (
        f"this INT8 file is SLOWER than float32 on this processor: {speedup:.2f} times as fast. Its layers may have no fast "
        "integer kernel (docs/processors.md). For this processor export without --quantize; --min-speedup 1 makes it an error"
    )


def check_speedup(speedup: float, least: float) -> None:
    """Check that INT8 is as much faster as was asked for.

    Raises:
        GateError: It is not.
    """
    if not speedup >= least:
        raise GateError(
            f"INT8 is {speedup:.2f} times as fast as float32 on this processor, {least - speedup:.2f} less than the {least:g} "
            "of --min-speedup. Export on the processor that will run the model, ask for less, or export without --quantize."
        )
