"""Sessions and fork: a session lives in the process that opened it.

onnxruntime's worker threads do not exist in a forked child. A session that is run there waits for them without end, and
one that is freed there crashes the child (https://github.com/microsoft/onnxruntime/pull/31961). So a child keeps what it
inherited, untouched until it ends, and opens sessions of its own.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from typing import Any

_OPENED_HERE: weakref.WeakSet[Any] = weakref.WeakSet()


def remember(session: Any) -> None:
    """Note that a session was opened by this process."""
    _OPENED_HERE.add(session)


def opened_here(session: Any) -> bool:
    """Tell whether a session was opened by this process, not by one that it was forked from."""
    return session in _OPENED_HERE


def _after_fork() -> None:
    for session in list(_OPENED_HERE):
        # A reference that nobody gives back: not even the end of the interpreter frees the session.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))
    _OPENED_HERE.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
