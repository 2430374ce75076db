"""Where files lie: local paths, and the URLs of objects in a store."""

from __future__ import annotations

import os
import re
from pathlib import Path, PosixPath

from ..errors import InputError
from ..system.paths import check_reachable

SCHEMES = ("s3", "gs", "az")
PARTS_NAME = "dae-manifest"
"""Folder in an output folder of a store: its folder WHOLE is the manifest of a run in one process, 1-of-4 of shard 1/4."""
WHOLE = "whole"
_URL = re.compile(rf"({'|'.join(SCHEMES)})://(.*)", re.DOTALL)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,254}")
_OTHER = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class ObjectPath(PosixPath):
    """The URL of an object, or of a prefix, as a path: `s3://bucket/folder/name.png`. No file of this machine has it."""

    def __str__(self) -> str:
        return super().__str__().replace(":/", "://", 1)

    @property
    def store(self) -> tuple[str, str]:
        """Scheme and bucket."""
        return self.parts[0].removesuffix(":"), self.parts[1]

    @property
    def key(self) -> str:
        """Name of the object in its bucket; empty for the bucket."""
        return "/".join(self.parts[2:])


def path_of(path: str | os.PathLike[str]) -> Path:
    """Return a path, or the URL of an object, as what its text says.

    Raises:
        InputError: It is a URL of another kind, or of no object.
    """
    if isinstance(path, Path):
        return path
    text = os.fspath(path)
    if (match := _URL.match(text)) is None:
        if _OTHER.match(text) and not os.path.lexists(text):
            raise InputError(f"{text} is not a URL of a store that is known; those are s3://, gs:// and az://.")
        return Path(text)
    bucket, *names = match[2].removesuffix("/").split("/")
    if not _BUCKET.fullmatch(bucket) or {"", ".", ".."} & set(names):
        raise InputError(f"{text} is not the URL of an object or a folder of objects, such as {match[1]}://bucket/folder.")
    return ObjectPath(text)


def prefix_of(folder: Path) -> str:
    """Return what the paths in a folder begin with, as text."""
    text = os.fspath(folder)
    return "" if text == os.curdir else text if text.endswith(os.sep) else text + os.sep


def is_url(path: str | os.PathLike[str]) -> bool:
    """Tell whether a path is the URL of an object."""
    return isinstance(path, ObjectPath) or _URL.match(os.fspath(path)) is not None


def check_place(path: str | os.PathLike[str], what: str) -> None:
    """Check that a path is a URL, or can be reached; arguments and errors as for `check_reachable`."""
    if not is_url(path):
        check_reachable(path, what)


def check_local(path: str | os.PathLike[str], what: str) -> None:
    """Check that a path is none of a store, and can be reached; arguments and errors as for `check_reachable`."""
    if is_url(path):
        raise InputError(f"{what} {os.fspath(path)} is the URL of a store. Give a local path.")
    check_reachable(path, what)
