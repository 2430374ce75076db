"""Images in a forked child where libvips does not work: an image process, started on first need, does it.

That ends with the child, however the child ends: it notices that the other end of its socket is closed. Files are handed
over open, and pixels go through the socket once. Each thread that works on an image has a channel of its own, since
`before_allocate` may wait for another thread to finish its image.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from multiprocessing import util
from typing import Any, cast

import numpy as np

from ..errors import ImageError
from .channel import Channel
from .pnm import Pixels
from .process import ImageProcess, not_started
from .ranges import Range

START_S = 60.0
"""How long an image process may take to start."""
_PATIENCE_S = 1.0
"""How long one may take to end after its sockets are closed."""
_ATTEMPTS = 3
"""Most image processes for one image, where they have ended before it was begun."""


class _State:
    """The image process of this process."""

    lock = threading.RLock()
    """Held for moments, and by a fork; reentrant for a fork in a signal handler."""
    running: ImageProcess | None = None
    hopeless = ""
    """Why none starts, where it takes long to find out."""


def decode_aside(
    source: bytes | int,
    max_pixels: int,
    before_allocate: Callable[[int], None] | None,
    value_range: Range | None,
    raw: bool,
) -> Any:
    """Decode as `decode` does, into a `Decoded`.

    Raises:
        ImageError: As `decode`; or the image process cannot be started, or has ended meanwhile.
        InputError, MissingDependencyError, OSError: As `decode`.
    """
    options = {"max_pixels": max_pixels, "value_range": value_range, "raw": raw}
    return _call("decode", options, "source", source, before_allocate)


def encode_aside(
    pixels: Pixels, kind: str, metadata: Mapping[str, Any], pages: int, target: int | None, quality: int | None
) -> bytes:
    """Encode as `encode` does.

    Raises:
        ImageError: As `encode`; or as for `decode_aside`.
        MissingDependencyError, OSError: As `encode`.
    """
    given = {"pixels": np.asarray(pixels), "kind": kind, "metadata": dict(metadata), "pages": pages, "quality": quality}
    return cast("bytes", _call("encode", given, "target", target))


def lost_metadata_aside(metadata: Mapping[str, Any], kind: str, output: bytes | int) -> tuple[str, ...]:
    """Return what `lost_metadata` does.

    Raises:
        ImageError, OSError: As for `decode_aside`.
    """
    return cast("tuple[str, ...]", _call("lost_metadata", {"metadata": dict(metadata), "kind": kind}, "output", output))


def _call(
    name: str,
    arguments: dict[str, Any],
    place: str,
    file: bytes | int | None,
    before_allocate: Callable[[int], None] | None = None,
) -> Any:
    """Have a function of the codec called with an argument that is an open file, content, or None."""
    asks = before_allocate is not None
    if isinstance(file, int):
        os.fstat(file)  # its error is the caller's
        running, channel = _begun((name, arguments, place, asks), [file])
    else:
        running, channel = _begun((name, {**arguments, place: file}, None, asks), [])
    refusal: BaseException | None = None
    with _kept(running, channel):
        while True:
            (answer, value), _ = channel.receive()
            if answer != "allocate" or before_allocate is None:
                break
            try:
                before_allocate(value)
            except BaseException as error:
                refusal = error
            channel.send(refusal is None)
    if refusal is not None:
        raise refusal
    if answer == "failed":
        raise value
    return value


def _begun(request: tuple[Any, ...], files: list[int]) -> tuple[ImageProcess, Channel]:
    """Return an image process that has begun with a request, and the channel on which it will answer.

    Raises:
        ImageError: It cannot be started.
    """
    how = ""
    for _ in range(_ATTEMPTS):
        running, channel, is_new = _channel()
        try:
            if is_new:
                _wait_until_ready(running, channel)
            channel.send(request, files)
            channel.receive()
            return running, channel
        except EOFError:
            how = _end(running, _PATIENCE_S)
            if not running.is_ready:
                break
        except BaseException:
            _discard(running, channel)
            raise
    raise not_started(f"it {how}")


def _channel() -> tuple[ImageProcess, Channel, bool]:
    """Return a running image process, a channel to it, and whether that is new."""
    with _State.lock:
        if _State.hopeless:
            raise not_started(_State.hopeless)
        if _State.running is not None and _State.running.has_ended():
            _end(_State.running)
        if _State.running is None:
            _State.running = ImageProcess()
            util.Finalize(None, _end_last, exitpriority=0)
        running = _State.running
        return (running, running.idle.pop(), False) if running.idle else (running, running.open_channel(), True)


def _wait_until_ready(running: ImageProcess, channel: Channel) -> None:
    if not channel.comes(START_S):
        _State.hopeless = f"it has not started within {START_S:g} s"
        _end(running)
        raise not_started(_State.hopeless)
    channel.receive()
    with _State.lock:
        running.ready()


@contextlib.contextmanager
def _kept(running: ImageProcess, channel: Channel) -> Iterator[None]:
    """Keep a channel for the next image, unless this one is interrupted.

    Raises:
        ImageError: The image process has ended meanwhile.
    """
    try:
        yield
    except EOFError as error:
        raise ImageError(
            f"the process that reads and writes images for this forked one {_end(running, _PATIENCE_S)}; this image, or one "
            "that it had at the same time, may be damaged. The next image gets a new process"
        ) from error
    except BaseException:
        _discard(running, channel)
        raise
    with _State.lock:
        if channel in running.channels:
            running.idle.append(channel)


def _discard(running: ImageProcess, channel: Channel) -> None:
    with _State.lock:
        running.channels.discard(channel)
        channel.close()


def _end(running: ImageProcess, patience_s: float = 0.0) -> str:
    """End an image process and return how it has ended."""
    with _State.lock:
        if _State.running is running:
            _State.running = None
        running.close()
    return running.end(patience_s)


def _end_last() -> None:
    """End it with this process, which leaves no zombie then."""
    if _State.running is not None:
        _end(_State.running)


def _before_fork() -> None:
    _State.lock.acquire()


def _after_fork_in_parent() -> None:
    with contextlib.suppress(RuntimeError):  # not held where this module was imported while the fork began
        _State.lock.release()


def _after_fork_in_child() -> None:
    inherited, _State.running, _State.lock = _State.running, None, threading.RLock()
    if inherited is not None:
        inherited.forget()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
