"""The connection of this process with the others of a training, and its end where one of them ends.

JAX watches the processes: each tells the coordinator, a thread of process 0, every few seconds that it lives. Where one no
longer does, or the coordinator is gone, JAX aborts the others (SIGABRT), also those that wait for it in a computation, which
nothing in Python could interrupt. Here that abort becomes one line and an exit code. On a CPU a computation often fails first,
as its connection breaks.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import itertools
import os
import re
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

from dae_runtime.system.atomic import remove_own_unfinished
from dae_runtime.system.command import EXIT_FAILED, buffered_stderr
from dae_runtime.system.interrupt import EXIT_INTERRUPTED, interrupted

from ..errors import ConfigError
from ..settings.processes import Processes

EXIT_LOST = 4
"""Exit code of a process that ends since another of its training has ended, or has not come."""
CONNECT_S = 300
"""Time for all processes to come."""
HEARTBEAT_S = 30
"""Time without a sign of life after which a process counts as dead."""
_LEAVE_MS = 3000  # for the others to say what is wrong before the coordinator goes
_SHUTDOWN_S = 86_400  # at the end of the program: the others may go on alone, such as to export
_LOST = re.compile(r"\b(gloo|nccl|connection (closed|reset)|coordination)", re.IGNORECASE)
_FAILURE = "dae_train/failure"
_REMEDY = "Look at what it said, then start all again with --resume."


class _Watch:
    """What is known when this process has to end."""

    processes: Processes | None = None
    """None until connected."""
    client: Any = None
    words = ""
    errors = 2
    """Descriptor for the last line: standard error, also while it is buffered."""
    failed: int | None = None
    """Exit code of an error of this process itself."""
    handler: Any = None
    """Kept, since only C refers to it."""
    messages = itertools.count()
    """Numbers of what the processes tell each other."""


def next_key() -> str:
    """Return the key of the next message, the same in every process."""
    return f"dae_train/{next(_Watch.messages)}"


def connect(processes: Processes) -> Any:
    """Connect with the coordinator, once for the whole process; return JAX's connection.

    Raises:
        ConfigError: The coordinator cannot listen, JAX has been in use, or this process is connected with others.
    """
    if _Watch.processes is not None:
        if _Watch.processes != processes or _Watch.failed is not None:
            state = "has ended in an error" if _Watch.failed is not None else f"is that of {_Watch.processes}"
            raise ConfigError(f"the connection of this program {state}: it cannot train as {processes}. Start a new program.")
        return _Watch.client
    if processes.index == 0:
        _check_port(int(str(processes.coordinator).rpartition(":")[2]))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # JAX's own words on the end of another process
    import jax
    from jax._src.distributed import global_state  # its only store of keys and values

    atexit.register(_leave)  # after JAX, so that it runs before what JAX does at the end: wait for the others
    _Watch.errors = os.dup(2)
    _Watch.words = (
        f"not all {processes.count} processes came within {CONNECT_S} s: this is process {processes.index}, and process 0 is "
        f"expected at {processes.coordinator}. Start them all, and check that the address can be reached."
    )
    _end_on_abort()
    failure = ""
    with buffered_stderr():
        try:
            jax.distributed.initialize(
                processes.coordinator,
                processes.count,
                processes.index,
                initialization_timeout=CONNECT_S,
                heartbeat_timeout_seconds=HEARTBEAT_S,
                shutdown_timeout_seconds=_SHUTDOWN_S,
                cluster_detection_method="deactivate",
            )
        except RuntimeError as error:
            failure = str(error)
    if failure:
        raise ConfigError(
            f"process {processes.index} cannot train with others at {processes.coordinator}: {failure} "
            "Train in a new program, before anything else uses JAX."
        )
    _Watch.processes, _Watch.client = processes, global_state.client
    _Watch.words = f"another process of this training has ended. {_REMEDY}"
    return _Watch.client


def _check_port(port: int) -> None:
    """Check that the coordinator can listen on a port: where it cannot, JAX may end in a segmentation fault.

    Raises:
        ConfigError: It cannot.
    """
    try:
        socket.create_server(("", port)).close()
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise ConfigError(
            f"process 0 cannot listen on port {port}: {reason}. Choose another for --coordinator, in all processes."
        ) from error


def meet() -> None:
    """Make the first computation of all devices; its library tells on standard output that it is connected."""
    from jax.experimental.multihost_utils import sync_global_devices

    if sys.stdout is not None:
        sys.stdout.flush()
    real = os.dup(1)
    with buffered_stderr():
        os.dup2(2, 1)
        try:
            sync_global_devices("dae_train")
        finally:
            os.dup2(real, 1)
            os.close(real)


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """End the process where the block fails since another has ended; after its own errors let it end without waiting."""
    try:
        yield
    except BaseException as error:
        if not interrupted() and isinstance(error, RuntimeError | ValueError) and _LOST.search(str(error)):
            check_others()
            _end()
        stopped = isinstance(error, KeyboardInterrupt)
        _fail("interrupted" if stopped else str(error), EXIT_INTERRUPTED if stopped else EXIT_FAILED)
        raise


def _fail(words: str, code: int) -> None:
    """Note that this process ends by an error of its own, and tell the others."""
    _Watch.failed, index = code, _Watch.processes.index if _Watch.processes else 0
    with contextlib.suppress(Exception):  # the coordinator may be gone
        _Watch.client.key_value_set(_FAILURE, f"process {index}: {words}", allow_overwrite=True)


def check_others() -> None:
    """End the process where another has said why it ends."""
    try:
        said = _Watch.client.key_value_try_get(_FAILURE)
    except Exception:  # nothing was said, or the coordinator is gone
        return
    _Watch.words = f"another process of this training has ended, {said}"
    _end()


def _end_on_abort() -> None:
    """Call `_end` where a library aborts, from the thread that does: Python's own handlers run only in the main thread."""
    kind = ctypes.CFUNCTYPE(None, ctypes.c_int)
    _Watch.handler = kind(lambda number: _end())
    libc = ctypes.CDLL(None)
    libc.signal.restype, libc.signal.argtypes = ctypes.c_void_p, [ctypes.c_int, kind]
    libc.signal(signal.SIGABRT, _Watch.handler)


def _end() -> NoReturn:
    """Say why, and end the process at once: nothing that waits for a lost process can be told to stop."""
    remove_own_unfinished()
    code = _Watch.failed
    if code is None:
        code = EXIT_INTERRUPTED if interrupted() else EXIT_LOST
        said = "interrupted" if interrupted() else f"error: {_Watch.words}"
        with contextlib.suppress(OSError):
            os.write(_Watch.errors, f"{said}\n".encode())
    os._exit(code)


def _leave() -> None:
    """After an error end without JAX's own end, which waits for the others; let them say first what they know."""
    if _Watch.failed is None and hasattr(sys, "last_type") and _Watch.processes is not None:
        _fail("an error of its program", EXIT_FAILED)
    if _Watch.failed is None:
        return
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    with contextlib.suppress(Exception):
        _Watch.client.wait_at_barrier("dae_train/leave", _LEAVE_MS)
    os._exit(_Watch.failed)
