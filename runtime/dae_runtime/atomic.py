"""Files that are either whole or not there.

A file is written beside its destination under a temporary name, flushed to the disk, and renamed: POSIX `rename` is atomic
within a file system, so a reader (or a crash) sees the old content or the new one, never a part of it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

TEMPORARY_PREFIX = ".dae-tmp-"
"""What the name of every unfinished file starts with; such files are safe to delete when no command runs."""


@contextlib.contextmanager
def atomic_path(destination: str | os.PathLike[str], *, overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary path that becomes `destination` when the block ends without an error.

    Args:
        destination: The final path. Its parent folder must exist.
        overwrite: If false, a destination that exists at the end is an error and stays as it was.

    Yields:
        The path to write to, in the destination's folder and with the destination's suffix.

    Raises:
        FileExistsError: `overwrite` is false and the destination exists.
        OSError: The folder cannot be written to, or the disk is full.
    """
    final = Path(destination)
    # The mask of the process holds for it, unlike for files of the module tempfile; reading the mask is not safe with threads.
    temporary = final.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}{final.suffix}"
    temporary.touch(exist_ok=False)
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


def write_atomic(destination: str | os.PathLike[str], data: bytes, *, overwrite: bool = True) -> None:
    """Write `data` to `destination` so that the file is whole or not there.

    Raises:
        FileExistsError: `overwrite` is false and the destination exists.
        OSError: The folder cannot be written to, or the disk is full.
    """
    with atomic_path(destination, overwrite=overwrite) as temporary:
        temporary.write_bytes(data)


def remove_unfinished(folders: Iterable[Path]) -> None:
    """Delete what killed processes left behind in folders. No other process may be writing there."""
    for folder in folders:
        for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
            with contextlib.suppress(OSError):
                path.unlink()


def _move_to_new(temporary: Path, final: Path) -> None:
    try:
        os.link(temporary, final)  # unlike a rename, a link never replaces an existing file
    except FileExistsError:
        raise
    except OSError:  # FAT and some network file systems have no links: the best they allow is to look first
        if os.path.lexists(final):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fspath(final)) from None
        temporary.replace(final)


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
