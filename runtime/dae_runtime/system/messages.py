"""Words in messages to people."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ..errors import DaeError

NAMES_SHOWN = 5
"""Names that a message lists at most."""


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 file`, `2 files`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def listed(names: Sequence[str | os.PathLike[str]], total: int | None = None) -> str:
    """Return the first few of some names: `a, b, c, d, e, and 2 more`.

    Args:
        names: The names, or the first NAMES_SHOWN of them at least.
        total: How many there are; None for as many as given.
    """
    more = (len(names) if total is None else total) - NAMES_SHOWN
    return ", ".join([*(os.fspath(name) for name in names[:NAMES_SHOWN]), *([f"and {more} more"] if more > 0 else [])])


def reason(error: Exception) -> str:
    """Return why something failed, for a message that goes on to other files: what nobody foresaw is named by its class."""
    if isinstance(error, DaeError):
        return str(error)
    if isinstance(error, MemoryError):
        return "does not fit into memory."
    text = f": {error}" if str(error) else ""
    return f"unexpected {type(error).__name__}{text}. This is a defect of dae-toolkit; --verbose shows where."
