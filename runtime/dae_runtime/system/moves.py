"""Move a finished file to its name, so that no file is replaced that may not be.

Between a look at a name and a rename to it another program may put a file there. Linux has renames that fail where a file
exists (RENAME_NOREPLACE) and that swap two files (RENAME_EXCHANGE): after a swap, what was replaced is at hand, and goes back
if it is not the file that was looked at. Where the system or the file system has neither, a hard link serves for new names.

Source: https://man7.org/linux/man-pages/man2/rename.2.html
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import stat
from collections.abc import Callable
from pathlib import Path

_NOREPLACE, _EXCHANGE = 1, 2
_AT_FDCWD = -100
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM)
"""Some containers answer EPERM to system calls that they do not know."""
_ATTEMPTS = 10
"""Looks at a name where files come and go."""


def move_to_new(source: Path, target: Path) -> None:
    """Move a file to a name that no file has.

    Raises:
        FileExistsError: A file has it.
        OSError: It cannot be moved.
    """
    if _rename(source, target, _NOREPLACE):
        return
    try:
        os.link(source, target)  # unlike a rename, a link never replaces an existing file
    except FileExistsError:
        raise
    except OSError:  # a file system without links, on a system without such a rename
        if os.path.lexists(target):
            raise _exists(target) from None
        source.rename(target)
    else:
        source.unlink()


def move_judged(source: Path, target: Path, may_replace: Callable[[], bool]) -> None:
    """Move a file to a name; if a file has it, ask whether to replace that, and replace no other.

    Raises:
        FileExistsError: The file that has the name may not be replaced, or another took its place meanwhile.
        OSError: It cannot be moved.
    """
    for _ in range(_ATTEMPTS):
        found = _state(target)
        if found is None:
            try:
                return move_to_new(source, target)
            except FileExistsError:
                continue
        if not may_replace():
            raise _exists(target)
        try:
            swapped = _rename(source, target, _EXCHANGE)
        except FileNotFoundError:  # the file is gone again
            continue
        if not swapped:
            source.replace(target)
        elif _state(source) != found:
            _rename(source, target, _EXCHANGE)
            raise _exists(target)
        return None
    raise _exists(target)


def _state(path: Path) -> tuple[int, ...] | None:
    """Return what tells a file from another, and from itself once changed; None without a file."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _exists(path: Path) -> FileExistsError:
    return FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fspath(path))


def _rename(source: Path, target: Path, flag: int) -> bool:
    """Rename with a flag; false where the system or the file system has no such rename."""
    rename = _renameat2()
    if rename is None:
        return False
    if rename(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), flag) == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code), os.fspath(target))


@functools.cache
def _renameat2() -> Callable[[int, bytes, int, bytes, int], int] | None:
    if os.name != "posix":
        return None
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is not None:
        function.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    return function
