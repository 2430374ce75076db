"""TIFFs of floats and of integers beyond 8 and 16 bits without sign, mapped to 0..1 by a stated range."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from ..errors import ImageError, InputError
from .pnm import Pixels

Range = tuple[float, float]
"""The values of black and white."""
RANGE = "range"
"""Metadata key of black, white and the file's pixel type."""
MAPPED = {"float": np.float32, "char": np.int8, "short": np.int16, "int": np.int32, "uint": np.uint32}
"""Types of pixels that are mapped, as libvips names them."""


def parse_range(text: str) -> Range:
    """Return black and white given as `LO:HI`, e.g. `-1024:3071`, or `LO-HI`.

    Raises:
        InputError: The text is no such range.
    """
    number = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
    match = re.fullmatch(rf"({number})[:-]({number})", text.strip())
    if match is None:
        raise InputError(f"a range must be LO-HI, the values of black and white, e.g. 0-4095 or -1024:3071, not {text!r}.")
    return check_range((float(match[1]), float(match[2])))


def check_range(value_range: Range) -> Range:
    """Return a range of two finite numbers, the first below the second.

    Raises:
        InputError: It is none.
    """
    low, high = value_range
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(f"black must be below white, and both finite; received {low:g} and {high:g}.")
    return low, high


def to_unit(values: Pixels, value_range: Range) -> Pixels:
    """Return values mapped to float32, black to 0 and white to 1.

    Raises:
        ImageError: Values are NaN, infinite, or outside the range, where the result would be cut off.
    """
    low, high = value_range
    if not np.isfinite(values).all():
        count = values.size - np.count_nonzero(np.isfinite(values))
        raise ImageError(f"{count} of {values.size} values are NaN or infinite; replace them first")
    least, most = float(values.min()), float(values.max())
    # The file may hold black and white themselves, rounded to its type.
    lowest, highest = np.array(value_range, values.dtype).tolist() if values.dtype.kind == "f" else value_range
    if least < min(low, lowest) or most > max(high, highest):
        raise ImageError(f"values reach from {least:g} to {most:g}, beyond the range {low:g}:{high:g}; give a wider --range")
    return ((values.astype(np.float64) - low) / (high - low)).astype(np.float32)


def from_unit(pixels: Pixels, stored: tuple[float, float, str]) -> Pixels:
    """Undo `to_unit`, in the file's type; integers are rounded, to those that the type has."""
    low, high, name = stored
    dtype: np.dtype[Any] = np.dtype(MAPPED[name])
    values: Pixels = pixels.astype(np.float64) * (high - low) + low
    if dtype.kind in "iu":
        np.rint(values, out=values)
        limits = np.iinfo(dtype)
        np.clip(values, limits.min, limits.max, out=values)  # the range may reach beyond them
    return values.astype(dtype)
