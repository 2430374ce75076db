"""Messages between two processes of ours: any objects, arrays without a copy for the way, and open files.

Both ends of a socket pair are ours, so nobody else can send: messages are pickled.
"""

from __future__ import annotations

import array
import contextlib
import copyreg
import errno
import fcntl
import pickle
import select
import socket
import struct
from collections.abc import Iterable, Iterator
from io import BytesIO
from types import MappingProxyType
from typing import Any

import numpy as np

_PROTOCOL = 5
_MARK = b"m"
_LOWEST_DESCRIPTOR = 3
_NO_SIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)
"""A program may have SIGPIPE end it, which is not meant for the end of the other process."""


class _Pickler(pickle.Pickler):
    dispatch_table = copyreg.dispatch_table.copy()
    dispatch_table[MappingProxyType] = lambda mapping: (_read_only, (dict(mapping),))


def _read_only(mapping: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(mapping)


class Channel:
    """One end of a socket pair, for one thread at a time."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        end.settimeout(None)  # not the default of the program

    def close(self) -> None:
        """Close this end, which the other process notices."""
        self._end.close()

    def send(self, message: Any, files: Iterable[int] = ()) -> None:
        """Send an object, with open files.

        Raises:
            EOFError: An end is closed.
        """
        buffers: list[pickle.PickleBuffer] = []
        content = BytesIO()
        _Pickler(content, _PROTOCOL, buffer_callback=buffers.append).dump(message)
        parts = [content.getbuffer(), *(buffer.raw() for buffer in buffers)]
        descriptors = array.array("i", files)
        with _ends():
            self._end.sendmsg(
                [_MARK], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)] if descriptors else [], _NO_SIGNAL
            )
            self._end.sendall(struct.pack(f"!{1 + len(parts)}Q", len(parts), *map(len, parts)), _NO_SIGNAL)
            for part in parts:
                self._end.sendall(part, _NO_SIGNAL)

    def comes(self, timeout_s: float) -> bool:
        """Wait for a message or the end of the other process; false if neither comes in time."""
        poll = select.poll()
        poll.register(self._end, select.POLLIN)
        return bool(poll.poll(timeout_s * 1000))

    def receive(self) -> tuple[Any, list[int]]:
        """Return the next object, whose arrays are writable, and the open files that came with it, which are the caller's.

        Raises:
            EOFError: An end is closed.
        """
        with _ends():
            mark, files, _, _ = socket.recv_fds(self._end, 1, 1)
            if not mark:
                raise EOFError
            (count,) = struct.unpack("!Q", self._part(8))
            content, *buffers = map(self._part, struct.unpack(f"!{count}Q", self._part(8 * count)))
        return pickle.loads(content, buffers=buffers), files

    def _part(self, size: int) -> memoryview:
        part = np.empty(size, np.uint8).data
        rest = part
        while rest:
            received = self._end.recv_into(rest)
            if not received:
                raise EOFError
            rest = rest[received:]
        return part


@contextlib.contextmanager
def _ends() -> Iterator[None]:
    """Turn what a closed end leads to into EOFError; another OSError may be that of a signal handler of the program."""
    try:
        yield
    except OSError as error:
        if isinstance(error, ConnectionError) or error.errno in (errno.EBADF, errno.ENOTCONN):
            raise EOFError from error
        raise


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected ends, neither in the place of a standard stream that is closed."""
    near, far = socket.socketpair()
    with near, far:
        return _above_streams(near), _above_streams(far)


def _above_streams(end: socket.socket) -> socket.socket:
    return socket.socket(fileno=fcntl.fcntl(end.fileno(), fcntl.F_DUPFD_CLOEXEC, _LOWEST_DESCRIPTOR))
