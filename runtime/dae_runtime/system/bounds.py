"""Bounds of the numbers that a user may give: larger ones are mistakes, and would exhaust the machine."""

from __future__ import annotations

import dataclasses
import math
import os
from numbers import Integral
from typing import Any

from ..errors import InputError

MOST_THREADS = max(256, os.cpu_count() or 1)
"""A thread takes about 2 MiB, and more threads than CPUs gain nothing."""
MOST_IMAGES = 4096
"""Of a batch."""
LARGEST_SIDE_PX = 65_536
"""Of a tile."""
MOST_MEMORY_MB = 2**24
MOST_PIXELS = 10**11
"""Of an image; the default limit is far below."""
_LONGEST = 60
_WORDS = {"int": "a whole number", "float": "a finite number", "str": "text", "bool": "true or false"}


def check_whole(name: str, value: object, least: int, most: int, remedy: str = "") -> None:
    """Check a whole number that a user gives.

    Raises:
        InputError: It is of another type, a bool, or outside `least` to `most`.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or not least <= int(value) <= most:
        raise InputError(f"{name} must be a whole number from {least} to {most}, not {shown(value)}.{remedy}")


def check_callback(name: str, value: object) -> None:
    """Check a function that a user may give.

    Raises:
        InputError: It is neither None nor can be called.
    """
    if value is not None and not callable(value):
        raise InputError(f"{name} must be a function or None, not {shown(value)}.")


def first_misfit(settings: Any) -> tuple[str, str, object] | None:
    """Return name, expected kind and value of the first field of settings that has not its annotated type.

    Args:
        settings: A dataclass annotated with `int`, `float`, `str`, `bool`, `None`, `tuple[int, ...]`, names of classes,
            `Sequence[...]` of one of these, or several of them joined by |. Whole numbers fit `float`; nan and infinity do
            not.
    """
    for field in dataclasses.fields(settings):
        value, names = getattr(settings, field.name), str(field.type).split(" | ")
        if not any(_fits(value, name) for name in names):
            return field.name, " or ".join(_WORDS.get(name, name) for name in names), value
    return None


def _fits(value: object, name: str) -> bool:
    if name == "None":
        return value is None
    if name == "float":
        return isinstance(value, int | float) and not isinstance(value, bool) and _finite(value)
    if name == "tuple[int, ...]":
        return isinstance(value, tuple) and all(type(item) is int for item in value)
    if name.startswith("Sequence["):
        inner = name.removeprefix("Sequence[").removesuffix("]")
        return isinstance(value, list | tuple) and all(_fits(item, inner) for item in value)
    if name == "os.PathLike[str]":
        return isinstance(value, os.PathLike)
    return name in (kind.__name__ for kind in type(value).__mro__) and not (name == "int" and isinstance(value, bool))


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def shown(value: object) -> str:
    """Return any value as a short text for a message; Python refuses to print whole numbers of thousands of digits."""
    try:
        text = repr(value)
    except Exception:
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."
