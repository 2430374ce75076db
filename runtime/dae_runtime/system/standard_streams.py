"""Standard output and error that never stop the work: what cannot be written is dropped, and the exit code says so."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any, BinaryIO, TextIO


class _Messages(io.RawIOBase):
    """A descriptor for messages; drops them once it cannot take them."""

    def __init__(self, descriptor: int, error: OSError | None) -> None:
        super().__init__()
        self._descriptor = descriptor
        self.error = error
        self.dropped = False

    def write(self, data: Any, /) -> int:
        left = memoryview(data).cast("B")
        count = len(left)
        while left and self.error is None:
            try:
                left = left[os.write(self._descriptor, left) :]
            except OSError as error:
                self.error = error
        self.dropped |= bool(left)
        return count

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return self.error is None and os.isatty(self._descriptor)


class MessageStream(io.TextIOWrapper):
    """A text stream for messages, in place of `sys.stdout` or `sys.stderr`.

    Args:
        original: The stream that Python opened; None if the descriptor was closed.
        descriptor: 1 or 2.
    """

    def __init__(self, original: TextIO | None, descriptor: int) -> None:
        self._raw = _Messages(descriptor, None if original else OSError(errno.EBADF, os.strerror(errno.EBADF)))
        # File names may hold bytes that no encoding prints.
        encoding = original.encoding if original else "utf-8"
        super().__init__(io.BufferedWriter(self._raw), encoding, "backslashreplace", line_buffering=True)

    def loss(self) -> OSError | None:
        """Return why a message was dropped; None if all were written."""
        self.flush()
        return self._raw.error if self._raw.dropped else None


def protect_standard_streams() -> None:
    """Replace the streams for messages, and occupy closed descriptors.

    A file that is opened while a standard descriptor is closed gets its number, and with it what C code prints.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None or (isinstance(stream, io.TextIOWrapper) and stream is getattr(sys, f"__{name}__")):
            if stream is not None:
                stream.flush()
            setattr(sys, name, MessageStream(stream, descriptor))


def lost_messages() -> dict[str, OSError]:
    """Return why messages were dropped, by the name of the stream."""
    streams = {"standard output": sys.stdout, "standard error": sys.stderr}
    losses = {name: stream.loss() for name, stream in streams.items() if isinstance(stream, MessageStream)}
    return {name: error for name, error in losses.items() if error is not None}


def release_output() -> None:
    """Give up content that standard output does not take, so that the interpreter does not try again at its end."""
    try:
        if sys.__stdout__ is not None:
            sys.__stdout__.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def binary_input() -> BinaryIO:
    """Return standard input for content.

    Raises:
        OSError: It is closed.
    """
    return _content(sys.stdin)


def binary_output() -> BinaryIO:
    """Return standard output for content, whose errors are raised.

    Raises:
        OSError: It is closed.
    """
    return _content(sys.__stdout__ if isinstance(sys.stdout, MessageStream) else sys.stdout)


def _content(stream: TextIO | None) -> BinaryIO:
    if stream is None:
        raise OSError(errno.EBADF, "it is closed")
    return stream.buffer
