"""Atomic file writing.

A file is written beside its destination under a temporary name, flushed to the disk, and moved there by one system call: a
reader (or a crash) sees the old or the new content, never a part. A file that may not be replaced stays, also one that
another program puts there at the last moment: see `moves`.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from .moves import move_judged, move_to_new

TEMPORARY_PREFIX = ".dae-tmp-"
"""Prefix of unfinished files, which are safe to delete when no command runs.

The machine and the process follow, as in `.dae-tmp-5f0c9a1e-4711-0123456789abcdef.png`."""
UNTOUCHED_S = 3600
"""Seconds without change after which an unfinished file of another machine counts as abandoned."""
_unfinished: set[Path] = set()
"""Of this process."""


_LONGEST_SUFFIX = 16
"""Bytes of a suffix that unfinished files share with their destination; a longer one could make their name too long."""


@contextlib.contextmanager
def atomic_path(
    destination: str | os.PathLike[str],
    *,
    overwrite: bool | Callable[[], bool] = True,
    before_move: Callable[[Path], None] | None = None,
) -> Iterator[Path]:
    """Yield a temporary path that is renamed to `destination` when the block ends without an error.

    Args:
        destination: The final path. Its parent folder must exist.
        overwrite: If false, an existing destination is an error and stays unchanged. A function is asked about an existing
            destination right before it would be replaced.
        before_move: Called with the finished file before it gets its final name.

    Yields:
        The path to write to, in the destination's folder and with the destination's suffix.

    Raises:
        FileExistsError: `overwrite` is false and the destination exists.
        OSError: The folder cannot be written to, or the disk is full.
    """
    final = Path(destination)
    suffix = final.suffix if len(os.fsencode(final.suffix)) <= _LONGEST_SUFFIX else ""
    with temporary_file(final.parent, suffix) as temporary:
        yield temporary
        _flush(temporary)
        if before_move is not None:
            before_move(temporary)
        if overwrite is True:
            temporary.replace(final)
        elif overwrite is False:
            move_to_new(temporary, final)
        else:
            move_judged(temporary, final, overwrite)


@contextlib.contextmanager
def temporary_file(folder: Path, suffix: str = "") -> Iterator[Path]:
    """Yield an empty file with a new name in a folder; it is deleted at the end, or by `remove_unfinished`.

    Raises:
        OSError: The folder cannot be written to.
    """
    # Not the module tempfile, which ignores the umask; reading the umask is not thread-safe.
    temporary = folder / f"{TEMPORARY_PREFIX}{_machine()}-{os.getpid()}-{secrets.token_hex(8)}{suffix}"
    temporary.touch(exist_ok=False)
    _unfinished.add(temporary)
    try:
        yield temporary
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        _unfinished.discard(temporary)


def write_atomic(destination: str | os.PathLike[str], data: bytes, *, overwrite: bool | Callable[[], bool] = True) -> None:
    """Write `data` to `destination` atomically; `overwrite` as for `atomic_path`.

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


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
