"""Where the files of a run lie, by their paths."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from .local import LocalStorage
from .locations import ObjectPath
from .objects import ObjectStorage
from .storage import Storage

_LOCAL = LocalStorage()


def storage_of(path: Path) -> Storage:
    """Return the storage that a path lies in.

    Raises:
        MissingDependencyError: It is a URL, and obstore is not installed.
        ImageError: The environment does not tell how to reach the store.
    """
    return _objects(*path.store) if isinstance(path, ObjectPath) else _LOCAL


def exists(path: Path) -> bool:
    """Tell whether a path is taken."""
    return storage_of(path).exists(path)


@cache
def _objects(scheme: str, bucket: str) -> Storage:
    return ObjectStorage(scheme, bucket)
