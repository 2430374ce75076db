"""Why libvips could not do what it was asked for.

It collects the errors of all threads in one text, so that what it says may be about another file: each line is judged by the
loader or saver that it begins with.
"""

from __future__ import annotations

_KINDS = ("png", "jpeg", "tiff", "webp")
_SYSTEM_ERROR = "system error: "
_VAGUE = ("load error", "unable to open source for input")


def reading_reason(text: str, kind: str) -> str:
    """Return why a file of a kind (`png`, `jpeg`, `tiff`, `webp`) could not be read, from libvips' text."""
    lines = [line for line in _lines(text) if not line.startswith(_SYSTEM_ERROR)]  # of a file that another thread writes
    own = [line for line in lines if kind in _place(line)]
    nobodys = [line for line in lines if not any(name in _place(line) for name in _KINDS)]
    clear = [line for line in own if not line.endswith(_VAGUE)]
    return next(reversed(clear or own or nobodys), "libvips gave no reason")


def writing_reason(text: str, kind: str) -> str:
    """Return why a file of a kind could not be written, from libvips' text."""
    for line in _lines(text):
        if line.startswith(_SYSTEM_ERROR):  # a full disk, say; what libvips adds to it later says less
            return line.removeprefix(_SYSTEM_ERROR)
    return reading_reason(text, kind)


def _lines(text: str) -> list[str]:
    """Return the lines that name where they come from, without the call that failed."""
    return [line.strip() for line in text.splitlines() if ": " in line]


def _place(line: str) -> str:
    return line.partition(":")[0].lower()
