"""The image process: decodes and encodes for a forked child, in as many threads as that uses, until it ends."""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import signal
import socket
import threading
from collections.abc import Mapping
from typing import Any, NoReturn

from ..errors import DaeError
from .channel import Channel
from .codec import decode, encode, lost_metadata
from .vips import disable_cache

_FUNCTIONS: Mapping[str, Any] = {"decode": decode, "encode": encode, "lost_metadata": lost_metadata}


class _Refused(BaseException):
    """The caller's `before_allocate` has raised; a library's handler of errors does not take it."""


def serve(descriptor: int) -> NoReturn:
    """Serve the process at the other end of a socket until that is closed, then end this process, whatever its threads do.

    Signals that go to all processes of a service are ignored: the other process may finish its images before it ends.

    Args:
        descriptor: Of the socket on which those of the channels come, one for each thread of the other process.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    control = Channel(socket.socket(fileno=descriptor))
    with contextlib.suppress(DaeError):  # which each image gives
        disable_cache()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # until now it tells why this process cannot start
    with contextlib.suppress(EOFError):
        while True:
            for file in control.receive()[1]:
                threading.Thread(target=_serve, args=(Channel(socket.socket(fileno=file)),), daemon=True).start()
    os._exit(0)


def _serve(channel: Channel) -> None:
    with contextlib.closing(channel), contextlib.suppress(EOFError):
        channel.send("ready")
        while True:
            request, files = channel.receive()
            try:
                channel.send("begun")
                answer = _answer(channel, files, *request)
                try:
                    channel.send(answer)
                except (pickle.PicklingError, MemoryError) as error:  # before any byte is sent
                    channel.send(("failed", _portable(error)))
                del answer
            finally:
                for file in files:
                    os.close(file)


def _answer(
    channel: Channel, files: list[int], name: str, arguments: dict[str, Any], place: str | None, asks: bool
) -> tuple[str, Any]:
    """Call a function.

    Args:
        channel: To the caller.
        files: The open file, if there is one.
        name: Of the function.
        arguments: Of the function.
        place: Name of the argument that the file is.
        asks: Whether the caller has a `before_allocate`.

    Returns:
        `done` and the result, `failed` and the error, or `refused` by `before_allocate`.
    """

    def ask(count: int) -> None:
        channel.send(("allocate", count))
        is_allowed, _ = channel.receive()
        if not is_allowed:
            raise _Refused

    try:
        if place is not None:
            if not files:  # the system drops one that this process may not have
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            arguments[place] = files[0]
        if asks:
            arguments["before_allocate"] = ask
        return "done", _FUNCTIONS[name](**arguments)
    except _Refused:
        return "refused", None
    except Exception as error:
        return "failed", _portable(error)


def _portable(error: Exception) -> Exception:
    """Return an error that can be sent."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
