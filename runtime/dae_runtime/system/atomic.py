"""Atomic file writing.

A file is written beside its destination under a temporary name, flushed to the disk, and renamed: POSIX `rename` is atomic
within a file system, so a reader (or a crash) sees the old or the new content, never a part.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import platform
import secrets
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

TEMPORARY_PREFIX = ".dae-tmp-"
"""Prefix of unfinished files, which are safe to delete when no command runs.

The machine and the process follow, as in `.dae-tmp-5f0c9a1e-4711-0123456789abcdef.png`."""
UNTOUCHED_S = 3600
"""Seconds without change after which an unfinished file of another machine counts as abandoned."""
_unfinished: set[Path] = set()
"""Of this process."""


@contextlib.contextmanager
def atomic_path(destination: str | os.PathLike[str], *, overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary path that is renamed to `destination` when the block ends without an error.

    Args:
        destination: The final path. Its parent folder must exist.
        overwrite: If false, an existing destination is an error and stays unchanged.

    Yields:
        The path to write to, in the destination's folder and with the destination's suffix.

    Raises:
        FileExistsError: `overwrite` is false and the destination exists.
        OSError: The folder cannot be written to, or the disk is full.
    """
    final = Path(destination)
    # Not the module tempfile, which ignores the umask; reading the umask is not thread-safe.
    owner = f"{_machine()}-{os.getpid()}"
    temporary = final.parent / f"{TEMPORARY_PREFIX}{owner}-{secrets.token_hex(8)}{final.suffix}"
    temporary.touch(exist_ok=False)
    _unfinished.add(temporary)
    try:
        yield temporary
        _flush(temporary)
        if overwrite:
            temporary.replace(final)
        else:
            _move_to_new(temporary, final)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        _unfinished.discard(temporary)


def write_atomic(destination: str | os.PathLike[str], data: bytes, *, overwrite: bool = True) -> None:
    """Write `data` to `destination` atomically.

    Raises:
        FileExistsError: `overwrite` is false and the destination exists.
        OSError: The folder cannot be written to, or the disk is full.
    """
    with atomic_path(destination, overwrite=overwrite) as temporary:
        temporary.write_bytes(data)


def remove_unfinished(folders: Iterable[Path]) -> None:
    """Delete unfinished files of killed processes in folders; files of living processes stay."""
    for folder in folders:
        for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
            with contextlib.suppress(OSError):
                if _is_abandoned(path):
                    path.unlink()


def remove_own_unfinished() -> None:
    """Delete the unfinished files of this process, which is about to end."""
    for path in list(_unfinished):
        with contextlib.suppress(OSError):
            path.unlink()


def _is_abandoned(path: Path) -> bool:
    machine, _, rest = path.name.removeprefix(TEMPORARY_PREFIX).partition("-")
    process = rest.partition("-")[0]
    if machine == _machine() and process.isdecimal() and os.name == "posix":  # on other systems signal 0 ends a process
        return not _lives(int(process))
    return time.time() - path.stat().st_mtime > UNTOUCHED_S


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True


@functools.cache
def _machine() -> str:
    """Return an identifier of this process namespace: the machine and the container."""
    container = Path()
    with contextlib.suppress(OSError):
        container = Path("/proc/self/ns/pid").readlink()  # as in pid:[4026531836]
    return hashlib.sha256(f"{platform.node()} {container}".encode("utf-8", "surrogateescape")).hexdigest()[:8]


def _move_to_new(temporary: Path, final: Path) -> None:
    try:
        os.link(temporary, final)  # unlike a rename, a link never replaces an existing file
    except FileExistsError:
        raise
    except OSError:  # FAT and some network file systems have no links: check first
        if os.path.lexists(final):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fspath(final)) from None
        temporary.replace(final)


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
