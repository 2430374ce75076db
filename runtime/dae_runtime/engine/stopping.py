"""End runs of the engine from outside: a model may never return."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import CancelledError
from ..system.interrupt import on_interrupt

POLL_S = 0.1
_SILENT = 4  # onnxruntime's log level "fatal"


class _Runs:
    """The runs of this process, and one thread that watches those with a `cancel`: starting a thread for each takes long."""

    def __init__(self) -> None:
        self.cancels: dict[Any, Callable[[], bool] | None] = {}
        """By the `RunOptions` of each run."""
        self._wake = threading.Event()
        self._watcher: threading.Thread | None = None

    def watch(self) -> None:
        """Have the thread look at the runs, every `POLL_S` while there are any with a `cancel`."""
        if self._watcher is None:  # two threads may start two watchers, which does no harm
            self._watcher = threading.Thread(target=self._watch, name="dae-cancel", daemon=True)
            self._watcher.start()
        self._wake.set()

    def _watch(self) -> None:
        while self._wake.wait():
            time.sleep(POLL_S)
            self._wake.clear()
            for options, cancel in list(self.cancels.items()):
                if cancel is not None:
                    self._wake.set()
                    options.terminate = options.terminate or _asks_to_stop(cancel)

    def stop(self) -> None:
        """End all runs."""
        for options in list(self.cancels):
            options.terminate = True


_runs = _Runs()


@contextlib.contextmanager
def stoppable(engine: Any, cancel: Callable[[], bool] | None) -> Iterator[Any]:
    """Yield `RunOptions` for one run, which ends with an error soon after `cancel` returns true or the command is interrupted.

    Args:
        engine: The onnxruntime module.
        cancel: Called by another thread while the run lasts, every `POLL_S`; None: never.

    Raises:
        CancelledError: The run was ended so.
    """
    options = engine.RunOptions()
    options.log_severity_level = _SILENT
    runs = _runs
    runs.cancels[options] = cancel
    if cancel is not None:
        runs.watch()
    try:
        yield options
    except Exception as error:  # onnxruntime's exceptions have no common base class
        if options.terminate:
            raise CancelledError("denoising was cancelled by the caller.") from error
        raise
    finally:
        runs.cancels.pop(options, None)


def _asks_to_stop(cancel: Callable[[], bool]) -> bool:
    try:
        return bool(cancel())
    except Exception:  # raised again where the caller's own thread asks
        return True


def _after_fork() -> None:
    """Start anew in a child, where the thread does not exist and locks may be held for ever."""
    global _runs
    _runs = _Runs()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
on_interrupt(lambda: _runs.stop())
