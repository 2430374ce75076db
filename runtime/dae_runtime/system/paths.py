"""What lies at a path: reached or not, a regular file or not, and whether it is the same file under another name."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator
from io import FileIO
from pathlib import Path

from ..errors import DaeError, ImageError, InputError

Identity = int
"""Device and inode in one number, a third of the memory of two.

Equal for all names of a file or a folder, also through links, bind mounts and folded case."""
PathLike = str | os.PathLike[str]
MOST_BYTES = 2**26
"""Of files of settings and tables, which have some kilobytes."""


def is_folder(path: PathLike) -> bool:
    """Tell whether a path leads to a folder; false, other than `Path.is_dir`, also where it cannot be looked at."""
    return os.path.isdir(path)  # noqa: PTH112


def is_file(path: PathLike) -> bool:
    """Tell whether a path leads to a regular file; false, other than `Path.is_file`, also where it cannot be looked at."""
    return os.path.isfile(path)  # noqa: PTH113


def identity_of(path: PathLike) -> Identity | None:
    """Return the identity of what a path leads to; None if it leads nowhere."""
    try:
        status = os.stat(path)  # noqa: PTH116 - many names: os works on them as they are
    except (OSError, ValueError):
        return None
    return identity_in(status)


def identity_in(status: os.stat_result) -> Identity | None:
    """Return the identity that a `stat` tells; None where the file system has none."""
    return status.st_dev << 64 | status.st_ino if status.st_ino else None


def identities_of(paths: Iterable[PathLike]) -> set[Identity]:
    """Return the identities of all paths that lead somewhere."""
    return {identity for path in paths if (identity := identity_of(path)) is not None}


def is_same(path: PathLike, other: PathLike) -> bool:
    """Tell whether two paths lead to one file or folder that exists."""
    identity = identity_of(path)
    return identity is not None and identity == identity_of(other)


def folders_around(path: PathLike) -> Iterator[Path]:
    """Yield a path and the folders that it lies in, without links."""
    resolved = Path(os.path.realpath(path))
    yield resolved
    yield from resolved.parents


def check_reachable(path: PathLike, what: str) -> None:
    """Check that a path leads to something, or to nothing; not to a place that cannot be looked at.

    Args:
        path: The path.
        what: What it is, for the error, such as `the output`.

    Raises:
        InputError: It is empty, or holds a zero byte.
        ImageError: A folder on the way may not be searched, or a name is too long.
    """
    text = os.fspath(path)
    if not text or "\0" in text:
        raise InputError(
            f"{what} is {'an empty name' if not text else 'a name with a zero byte'}. Give a path; . is this folder."
        )
    try:
        os.lstat(text)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise ImageError(f"{what} {text} cannot be reached: {error.strerror or error}.") from error


def open_regular(path: PathLike) -> FileIO:
    """Open a regular file to read; never waits for the writer of a pipe, nor touches a device.

    Raises:
        OSError: It is no regular file, or cannot be opened.
    """
    if "\0" in os.fspath(path):
        raise OSError(errno.EINVAL, "its name holds a zero byte", os.fspath(path))
    _check_regular(path, Path(path).stat().st_mode)  # before opening: that alone may rewind a tape
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    file = FileIO(os.open(path, flags), "rb")
    try:
        _check_regular(path, os.fstat(file.fileno()).st_mode)
    except BaseException:
        file.close()
        raise
    return file


def read_regular(path: PathLike, most_bytes: int = MOST_BYTES) -> bytes:
    """Return the content of a regular file.

    Raises:
        OSError: As `open_regular`, or it has more than `most_bytes`.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most_bytes:
            raise OSError(errno.EFBIG, f"it has {size} bytes, more than {most_bytes}", os.fspath(path))
        return file.readall()


@contextlib.contextmanager
def system_errors(kind: type[DaeError], remedy: str) -> Iterator[None]:
    """Raise errors of the operating system, such as of a full disk, as errors of this toolkit; also a decorator.

    Args:
        kind: The error to raise.
        remedy: What to do about it, after the text.
    """
    try:
        yield
    except OSError as error:
        where = "a file cannot be written or read" if error.filename is None else os.fsdecode(error.filename)
        raise kind(f"{where}: {reason_of(error)}. {remedy}") from error


def reason_of(error: BaseException) -> str:
    """Return why something failed, without the number and the path that errors of the operating system have in their text."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _check_regular(path: PathLike, mode: int) -> None:
    if stat.S_ISDIR(mode):
        with os.scandir(path):  # raises why a folder cannot be read, if that is why it is opened as a file
            pass
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
        found = kinds.get(stat.S_IFMT(mode), "a device")
        raise OSError(errno.EINVAL, f"it is {found}, not a regular file", os.fspath(path))
