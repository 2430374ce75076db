"""SIGINT and SIGTERM end a command within `GRACE_S`, whatever it waits for.

Python calls its signal handlers only between two steps of its own code, never within a long call of a library. Here a thread
is woken by the signal itself (https://docs.python.org/3/library/signal.html#signal.set_wakeup_fd). It ends what can be ended
from outside, such as runs of the engine, so that the command ends in its own way; if it does not, it ends the process.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable

from .atomic import remove_own_unfinished

EXIT_INTERRUPTED = 130
GRACE_S = 1.5
"""Time for a command to end in its own way."""
_POLL_S = 0.05

_endings: list[Callable[[], None]] = []


def on_interrupt(ending: Callable[[], None]) -> None:
    """Have `ending` called, in another thread and repeatedly, while an interrupted command has not ended."""
    _endings.append(ending)


def end_on_signals() -> None:
    """Make SIGTERM an interruption like SIGINT, and let both end this process in time; for commands, in the main thread."""
    if hasattr(signal, "SIGTERM"):
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # of a service manager
    if os.name != "posix":  # elsewhere only sockets can wake a thread
        return
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    threading.Thread(target=_end, args=(woken,), name="dae-interrupt", daemon=True).start()


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
