"""Quality and speed gates that a file must pass to be written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dae_runtime.contract import Quality

from .quality import Judgment


@dataclass(frozen=True)
class Gate:
    """A limit on a measured value."""

    name: str
    """Name for people, with the unit."""
    measured: float
    limit: float
    at_least: bool = False
    """Whether `limit` is a minimum instead of a maximum."""
    failure: str = ""
    """Error text of a file that fails."""

    @property
    def passed(self) -> bool:
        """Whether the limit is kept; NaN fails."""
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit


def loss_gates(judgment: Judgment, max_psnr_drop: float, max_color_shift: float) -> tuple[Gate, Gate]:
    """Return the gates on the loss against float32.

    Args:
        judgment: Comparison with float32.
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
            failure=f"loses {drop:.3f} dB of PSNR{estimated}, {drop - max_psnr_drop:.3f} dB more than the "
            f"{max_psnr_drop:g} dB of --max-psnr-drop",
        ),
        Gate(
            "mean shift of a channel, 8-bit steps",
            abs(shift),
            max_color_shift,
            failure=f"shifts a channel by {shift:+.2f} of 255 steps in the mean, {abs(shift) - max_color_shift:.2f} more "
            f"than the {max_color_shift:g} of --max-color-shift",
        ),
    )


def gain_gate(quality: Quality, least: float) -> Gate:
    """Return the gate on the gain over the noisy samples, in dB: a file that makes them worse is of no use."""
    gain = quality.psnr_db - quality.noisy_psnr_db
    return Gate(
        "gain of PSNR over the noisy samples, dB",
        gain,
        least,
        True,
        f"changes the PSNR of the noisy samples by {gain:+.2f} dB, {quality.noisy_psnr_db:.2f} -> {quality.psnr_db:.2f} dB "
        f"({quality.fp32_psnr_db:.2f} dB in float32), less than the {least:g} dB of --min-psnr-gain",
    )


def speed_gate(speedup: float, least: float) -> Gate:
    """Return the gate on the speedup over float32."""
    failure = f"is {speedup:.2f} times as fast as float32 on this processor, {least - speedup:.2f} less than the {least:g}"
    return Gate("speed against float32", speedup, least, True, f"{failure} of --min-speedup")


def failed_gates(gates: Iterable[Gate]) -> str | None:
    """Return the error texts of the failed gates; None if all pass."""
    return " and ".join(gate.failure for gate in gates if not gate.passed) or None
