"""Locks on open files, which end with the process."""

from __future__ import annotations

import sys

if sys.platform != "win32":
    import fcntl


def lock(descriptor: int, alone: bool) -> bool:
    """Lock an open file or folder until it is closed, without waiting.

    Args:
        descriptor: Of the file.
        alone: Whether no other holder of a lock is tolerated; else only those that must be alone are not.

    Returns:
        Whether there is no conflict; true where the system or the file system has no locks.
    """
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
