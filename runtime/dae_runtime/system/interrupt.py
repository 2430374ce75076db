"""SIGINT and SIGTERM end a command within `GRACE_S`, whatever it waits for.

Python calls its signal handlers only between two steps of its own code, never within a long call of a library. Here a thread
is woken by the signal itself (https://docs.python.org/3/library/signal.html#signal.set_wakeup_fd). It ends what can be ended
from outside, such as runs of the engine, so that the command ends in its own way; if it does not, it ends the process.

Python raises KeyboardInterrupt wherever its main thread is, so also in the middle of a library's own work. The library may
wrap it or fail in another way, and what it leaves half built may fail when it is cleared away. None of that is told.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

from .atomic import remove_own_unfinished

EXIT_INTERRUPTED = 130
GRACE_S = 1.5
"""Time for a command to end in its own way."""
_POLL_S = 0.05

_endings: list[Callable[[], None]] = []
_signaled = threading.Event()


def on_interrupt(ending: Callable[[], None]) -> None:
    """Have `ending` called, in another thread and repeatedly, while an interrupted command has not ended."""
    _endings.append(ending)


def interrupted() -> bool:
    """Whether SIGINT or SIGTERM has arrived: whatever ends the command then is the interruption."""
    return _signaled.is_set()


def end_on_signals() -> None:
    """Make SIGTERM an interruption like SIGINT, and let both end this process in time; for commands, in the main thread."""
    _handle_signals_with(_interrupt)
    atexit.register(_handle_signals_with, signal.SIG_IGN)  # the work is done, and its exit code is known
    if os.name != "posix":  # elsewhere only sockets can wake a thread
        return
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    threading.Thread(target=_end, args=(woken,), name="dae-interrupt", daemon=True).start()


def _handle_signals_with(handler: Callable[[int, FrameType | None], NoReturn] | signal.Handlers) -> None:
    for name in ("SIGINT", "SIGTERM"):  # SIGTERM is sent by a service manager
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    _signaled.set()
    sys.unraisablehook = threading.excepthook = _say_nothing
    raise KeyboardInterrupt


def _say_nothing(_failure: Any) -> None:
    pass


def _end(woken: int) -> None:
    while os.read(woken, 1)[0] not in (signal.SIGINT, signal.SIGTERM):
        pass
    end_s = time.monotonic() + GRACE_S
    while time.monotonic() < end_s:
        for ending in list(_endings):
            ending()
        time.sleep(_POLL_S)
    remove_own_unfinished()
    with contextlib.suppress(OSError):
        os.write(2, b"interrupted\n")
    os._exit(EXIT_INTERRUPTED)
