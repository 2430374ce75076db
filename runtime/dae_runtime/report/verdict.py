"""What a report says about an image, in a photographer's words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from ..system.messages import counted
from .residual import STRONG, Residual

FALL_DB = 0.05
"""A smaller fall of PSNR is not seen, and not told."""
_LARGE_FALL_DB = 0.5
_UNSEEN = 1.5 / 255
"""A change of this root mean square, 45 dB, is not seen."""
_NO_NOISE = 1.5 / 255
_WEAK, _LITTLE_DETAIL, _MUCH_DETAIL = 0.2, 0.03, 0.1
"""Of `Residual.with_image` and `with_detail`. Chosen with white, shot and smoothed noise of 5 to 12 of 255 on the photographs
of examples/clean: runs of `photo` that gain PSNR stay below the first two, but for some that are told a level of a third or of
twice the true one; those that lose it lie above the second or the third."""
_SHARES = (
    (0.4, "Almost all of the noise is gone"),
    (0.75, "Much of the noise is gone"),
    (0.95, "A part of the noise is gone"),
)
"""What is left of the noise at most, and what that is called."""


class Loss(Enum):
    """What went with the noise."""

    NONE = "no detail is seen in what was removed"
    LITTLE = "a little detail may have gone with it"
    MUCH = "detail or contrast went with it"


_REMEDIES = {
    Loss.NONE: "",
    Loss.LITTLE: ": compare at the sharpest places",
    Loss.MUCH: ": try --detail 0.7, --strength 0.7, or a lower --sigma",
}


@dataclass(frozen=True)
class Verdict:
    """What is said about one image."""

    text: str
    loss: Loss
    fall_db: float = 0.0
    """By how much PSNR against the reference fell; 0 if it did not, or without a reference."""


def judge(before: float | None, after: float | None, residual: Residual, psnr_db: tuple[float, float] | None) -> Verdict:
    """Judge an image.

    Args:
        before: Estimated white noise, on the scale where white is 1; None for very small images.
        after: Likewise of the result.
        residual: The structure of what was removed. How it follows its neighbors is not asked: the noise of cameras does.
        psnr_db: Against the reference before and after, if there is one.
    """
    fall = 0.0 if psnr_db is None else psnr_db[0] - psnr_db[1]
    if residual.rms < _UNSEEN and fall <= FALL_DB:
        return Verdict("Hardly anything was changed.", Loss.NONE)
    loss = _loss(residual, fall)
    return Verdict(
        f"{_noise(before, after, residual.rms)}; {loss.value}{_REMEDIES[loss]}.", loss, fall if fall > FALL_DB else 0.0
    )


def _loss(residual: Residual, fall_db: float) -> Loss:
    found, detail = abs(residual.with_image), residual.with_detail
    if fall_db < -FALL_DB:  # nearer to the reference, whatever was removed
        return Loss.LITTLE if found >= _WEAK or detail > _LITTLE_DETAIL else Loss.NONE
    if found >= STRONG or detail > _MUCH_DETAIL or fall_db > _LARGE_FALL_DB:
        return Loss.MUCH
    return Loss.LITTLE if found >= _WEAK or detail > _LITTLE_DETAIL or fall_db > FALL_DB else Loss.NONE


def summary_text(verdicts: Sequence[Verdict]) -> str:
    """Return what the verdicts say together; empty without any."""
    words = {
        Loss.NONE: "without visible loss of detail",
        Loss.LITTLE: "with a little loss of detail at most",
        Loss.MUCH: "with loss of detail or contrast",
    }
    counts = {loss: sum(verdict.loss == loss for verdict in verdicts) for loss in Loss}
    parts = [f"{count} {words[loss]}" for loss, count in counts.items() if count]
    return f"Of {counted(len(verdicts), 'image')} below: {', '.join(parts)}." if parts else ""


def _noise(before: float | None, after: float | None, removed: float) -> str:
    if before is None or after is None:
        return "Too small to say how much noise is gone"
    if before < _NO_NOISE:  # of the smooth noise of a camera the estimate sees a fifth
        return (
            "There was hardly any noise" if removed < _UNSEEN else f"Smooth noise of {255 * removed:.1f} of 255 was taken out"
        )
    return next((text for share, text in _SHARES if after <= share * before), "The noise is as it was")
