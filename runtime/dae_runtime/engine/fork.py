"""Sessions and fork: a session works only in the process that opened it.

onnxruntime's worker threads do not exist in a forked child. Running a session there blocks forever, and freeing one crashes
the child (https://github.com/microsoft/onnxruntime/pull/31961). So a child keeps inherited sessions untouched until it ends,
and opens its own.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from typing import Any

_OPENED_HERE: weakref.WeakSet[Any] = weakref.WeakSet()


def register_session(session: Any) -> None:
    """Register a session opened by this process."""
    _OPENED_HERE.add(session)


def is_own_session(session: Any) -> bool:
    """Tell whether this process opened a session, not its parent."""
    return session in _OPENED_HERE


def _after_fork() -> None:
    for session in list(_OPENED_HERE):
        # A leaked reference: not even interpreter shutdown frees the session.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))
    _OPENED_HERE.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
