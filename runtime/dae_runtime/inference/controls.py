"""The user's choices about a result, besides the model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, NamedTuple

from ..errors import InputError
from ..system.bounds import shown

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..pixels.arrays import FloatArray

FEWEST_BITS, MOST_BITS = 9, 16
ENSEMBLES = (1, 2, 4, 8)
"""Numbers of copies that a self-ensemble may have."""
_SHARES = ("strength", "luma", "color", "detail")
_SCALE = "the standard deviation of the noise on the scale where white is 1"


def _is_share(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and 0 <= value <= 1  # type: ignore[operator]


class Shares(NamedTuple):
    """Shares of a model's change to apply, 0 to 1."""

    luma: float
    """Of what changes the brightness."""
    color: float
    """Of what changes the color at equal brightness."""


@dataclass(frozen=True)
class Controls:
    """The user's choices about a result, besides the model. Plain values.

    Raises:
        InputError: A value is not a number, or out of its range.
    """

    sigma: float | None = None
    """Noise level, 0 to 1: the standard deviation of the noise over pixels and channels where white is 1. None: measured, for
    models that are given it."""
    strength: float = 1.0
    """Share of the change to apply, 0 to 1."""
    luma: float = 1.0
    """Share of the brightness noise to remove, 0 to 1."""
    color: float = 1.0
    """Share of the color noise to remove, 0 to 1; without effect on gray images."""
    detail: float = 0.0
    """Share of the fine structure in the removed part to put back, 0 to 1."""
    bits: int | None = None
    """Bits that the values of a 16-bit image use, 9 to 16. None: detected from its largest value, else 16."""
    ensemble: int = 1
    """Copies of the image, flipped and turned, whose results are averaged: 1, 2, 4 or 8."""

    def __post_init__(self) -> None:
        for name in _SHARES:
            value = getattr(self, name)
            if not _is_share(value):
                raise InputError(f"{name} must be a number from 0 to 1, not {shown(value)}.")
        if self.sigma is not None:
            check_sigma(self.sigma)
        if self.bits is not None and not (type(self.bits) is int and FEWEST_BITS <= self.bits <= MOST_BITS):
            raise InputError(
                f"bits must be a whole number from {FEWEST_BITS} to {MOST_BITS}, or None to recognize them, not "
                f"{shown(self.bits)}."
            )
        if type(self.ensemble) is not int or self.ensemble not in ENSEMBLES:
            raise InputError(f"ensemble must be 1, 2, 4 or 8, not {shown(self.ensemble)}.")

    @property
    def shares(self) -> Shares:
        """Shares of the change of each pixel to apply."""
        return Shares(float(self.strength * self.luma), float(self.strength * self.color))


DEFAULT_CONTROLS = Controls()
"""What the model does, all of it; its level, if it is given one, measured."""


def check_sigma(sigma: object) -> None:
    """Check a noise level.

    Raises:
        InputError: It is no number from 0 to 1.
    """
    if _is_share(sigma):
        return
    above = isinstance(sigma, Real) and 1 < sigma < math.inf  # type: ignore[operator]
    hint = " Divide a level on the scale of 0 to 255 by 255." if above else ""
    raise InputError(f"sigma must be a number from 0 to 1, {_SCALE}, not {shown(sigma)}.{hint}")


def as_levels(sigma: npt.ArrayLike, count: int) -> FloatArray:
    """Return the noise levels of so many images, (count,) float32.

    Args:
        sigma: One number for all images, or a sequence with one for each.
        count: How many images there are.

    Raises:
        InputError: There are more or fewer, or one is no number from 0 to 1.
    """
    import numpy as np  # `Controls` are plain values, and load nothing

    try:
        single, values = np.ndim(sigma) == 0, np.ravel(sigma).tolist()
    except (ValueError, TypeError) as error:  # rows of several lengths
        raise InputError(f"sigma must be one number, or one for each image, not {shown(sigma)}.") from error
    values = [sigma] if single else values
    if len(values) not in (1, count) or (len(values) == 1 and count != 1 and not single):
        raise InputError(f"sigma must be one number, or one for each of the {count} images; received {len(values)}.")
    for value in values:
        check_sigma(value)
    return np.full(count, values, np.float32)
