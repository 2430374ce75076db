"""What a file must hold to be written: limits on what it loses, and on how little it gains."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .quality import Judgment


@dataclass(frozen=True)
class Gate:
    """A limit that a file must keep."""

    name: str
    """In words, with the unit."""
    measured: float
    limit: float
    at_least: bool = False
    """Whether the limit is the smallest that is allowed, not the largest."""
    complaint: str = ""
    """What to say of a file that fails, and by how much."""

    @property
    def passed(self) -> bool:
        """Whether the limit is kept; never by NaN."""
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit


def loss_gates(judgment: Judgment, max_psnr_drop: float, max_color_shift: float) -> tuple[Gate, Gate]:
    """Return the gates on what a version may lose against float32.

    Args:
        judgment: The version beside float32.
        max_psnr_drop: Largest loss of PSNR in dB.
        max_color_shift: Largest mean shift of any channel, up or down, in 8-bit steps.
    """
    drop, shift = judgment.drop_db, max(judgment.color_shift, key=abs)
    estimated = "" if judgment.quality else " (estimated: there are no clean references)"
    return (
        Gate(
            "loss of PSNR, dB",
            drop,
            max_psnr_drop,
            complaint=f"loses {drop:.3f} dB of PSNR{estimated}, {drop - max_psnr_drop:.3f} dB more than the "
            f"{max_psnr_drop:g} dB of --max-psnr-drop",
        ),
        Gate(
            "mean shift of a channel, 8-bit steps",
            abs(shift),
            max_color_shift,
            complaint=f"shifts a channel by {shift:+.2f} of 255 steps in the mean, {abs(shift) - max_color_shift:.2f} more "
            f"than the {max_color_shift:g} of --max-color-shift",
        ),
    )


def speed_gate(speedup: float, least: float) -> Gate:
    """Return the gate on how many times as fast as float32 a version is."""
    complaint = f"is {speedup:.2f} times as fast as float32 on this processor, {least - speedup:.2f} less than the {least:g}"
    return Gate("speed against float32", speedup, least, True, f"{complaint} of --min-speedup")


def complaint(gates: Iterable[Gate]) -> str | None:
    """Return which gates a version fails, and by how much; None if it passes."""
    return " and ".join(gate.complaint for gate in gates if not gate.passed) or None
