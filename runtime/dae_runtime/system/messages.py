"""Helpers for messages."""

from __future__ import annotations

import errno
import html
import os
import re
from collections.abc import Sequence

from ..errors import DaeError

NAMES_SHOWN = 5
"""Most names listed in a message."""
LONGEST_TEXT = 2000
"""Most characters of a message that is printed."""
_INVISIBLE = re.compile(
    r"[^\x20-\x7e\xa0-\U0010ffff]|[\u061c\u200b\u200c\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)
"""Control characters, and those that hide text or change its direction."""
_INDENTED = "\n  "


def printable(text: str, lines: bool = False) -> str:
    """Return text for a terminal or a page: control characters of file names and models escaped, cut where it is very long.

    Args:
        text: The text.
        lines: Whether newlines before an indented line stay.
    """
    if lines:
        return _INDENTED.join(map(printable, text.split(_INDENTED)))
    shown = _INVISIBLE.sub(lambda match: ascii(match[0])[1:-1], text)
    return shown if len(shown) <= LONGEST_TEXT else f"{shown[: LONGEST_TEXT - 30]}... ({len(shown)} characters)"


def html_text(text: str) -> str:
    """Return text for a page, as `printable` and with the characters of HTML escaped."""
    return html.escape(printable(text))


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 file`, `2 files`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def listed(names: Sequence[str | os.PathLike[str]], total: int | None = None) -> str:
    """Return the first names: `a, b, c, d, e, and 2 more`.

    Args:
        names: The names, or at least the first NAMES_SHOWN.
        total: Total number; None for the number of `names`.
    """
    more = (len(names) if total is None else total) - NAMES_SHOWN
    return ", ".join([*(os.fspath(name) for name in names[:NAMES_SHOWN]), *([f"and {more} more"] if more > 0 else [])])


_PASSING = (
    *(errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.EIO, errno.ESTALE),
    *(errno.ETIMEDOUT, errno.ENOTCONN, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT),
)


_TOLD = (*(os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM)), "allocate memory", "bad_alloc")
"""Texts of libvips and onnxruntime."""


def may_pass(error: BaseException | None) -> bool:
    """Tell whether an error, or its cause, may pass by itself: no space, no memory, no permission, a share that is gone."""
    while error is not None:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _PASSING):
            return True
        if any(text in str(error) for text in _TOLD):
            return True
        error = error.__cause__ or error.__context__
    return False


def describe_error(error: Exception) -> str:
    """Return the reason of a failure for a message; unexpected errors include their class."""
    if isinstance(error, DaeError):
        return str(error)
    if isinstance(error, MemoryError):
        return "does not fit into memory."
    text = f": {error}" if str(error) else ""
    return f"unexpected {type(error).__name__}{text}. This is a defect of edge-denoiser; --verbose shows where."
