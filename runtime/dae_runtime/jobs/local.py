"""Inputs and outputs in folders of this machine."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

from ..errors import DaeError, ImageError, InputError
from ..images import Image, read_image, save_image, walk_images
from ..system.atomic import remove_unfinished
from ..system.paths import identity_of, is_file, is_folder, open_regular
from .inputs import find_sources
from .shards import Shard
from .storage import Finished, Stamp


class LocalStorage:
    """Files; see `Storage` for the methods."""

    def find(
        self, source: Path, recursive: bool, files_from: str | os.PathLike[str] | None, shard: Shard | None
    ) -> tuple[Path, Collection[str]]:
        """As `Storage.find`."""
        return find_sources(source, recursive, files_from, shard)

    def images_in(self, folder: Path) -> Iterator[str]:
        """As `Storage.images_in`."""
        return walk_images(folder) if os.path.lexists(folder) else iter(())

    def is_file(self, path: Path) -> bool:
        """As `Storage.is_file`."""
        return is_file(path)

    def is_folder(self, path: Path) -> bool:
        """As `Storage.is_folder`."""
        return is_folder(path)

    def exists(self, path: Path) -> bool:
        """As `Storage.exists`."""
        return os.path.lexists(path)

    def survey(self, paths: Iterable[Path], folder: Path | None) -> None:
        """Do nothing: files answer at once."""

    def check_writable(self, folder: Path) -> None:
        """As `Storage.check_writable`."""
        check_writable(folder)

    def prepare(self, folder: Path) -> str | None:
        """Do nothing: `save` makes folders."""
        return None

    def remove_unfinished(self, folders: Iterable[Path]) -> None:
        """As `Storage.remove_unfinished`."""
        remove_unfinished(folders)

    def size(self, path: Path) -> int:
        """As `Storage.size`."""
        return file_stamp(path)[0]

    def stamp(self, path: Path) -> Stamp:
        """As `Storage.stamp`."""
        return file_stamp(path)

    def remember(self, path: Path, stamp: Stamp) -> None:
        """Do nothing: files answer at once."""

    def sha256(self, path: Path) -> str | None:
        """As `Storage.sha256`."""
        return file_sha256(path)

    def is_whole(self, path: Path) -> bool:
        """As `Storage.is_whole`."""
        try:
            read_image(path)
        except DaeError:
            return False
        return True

    def read(
        self,
        path: Path,
        max_pixels: int,
        before_allocate: Callable[[int], None] | None,
        value_range: tuple[float, float] | None,
    ) -> Image:
        """As `Storage.read`."""
        return read_image(path, max_pixels, before_allocate, value_range)

    def save(
        self,
        path: Path,
        image: Image,
        *,
        may_replace: Callable[[], bool],
        begin: Callable[[Finished], None],
        quality: int | None,
    ) -> tuple[tuple[str, ...], Stamp]:
        """As `Storage.save`."""
        stamps: list[Stamp] = []

        def before_move(finished: Path) -> None:
            stamps.append(file_stamp(finished))
            begin(Finished(identity_of(finished), lambda: file_sha256(finished)))

        path.parent.mkdir(parents=True, exist_ok=True)
        lost = save_image(path, image, overwrite=may_replace, before_move=before_move, quality=quality)
        return lost, stamps[0]


def check_writable(folder: Path) -> None:
    """Check that a folder can be created and written to, without creating it.

    Raises:
        InputError: A file is in its place.
        ImageError: It cannot be.
    """
    there = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not is_folder(there):
        raise InputError(f"the folder {folder} cannot be created: {there} is a file. Give another output.")
    if not os.access(there, os.W_OK | os.X_OK):
        what = "cannot be written to" if there == folder else f"cannot be created in {there}"
        raise ImageError(f"the folder {folder} {what}: Permission denied, or a read-only disk. Give another output.")


def file_sha256(path: str | os.PathLike[str]) -> str | None:
    """Return a file's SHA-256 in hex, or None if it cannot be read."""
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def file_stamp(path: Path) -> Stamp:
    """Return the stamp of a file; zeros if it is gone."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns
