"""What a run asks of where its files lie: folders of this machine, or object stores."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from ..images import Image
from ..system.paths import Identity
from .shards import Shard

Stamp = tuple[int, int]
"""Size in bytes and modification time in ns, or of an object a number made of its ETag; a file with the same stamp counts as
unchanged."""


@dataclass(frozen=True)
class Finished:
    """An output that is about to get its name."""

    identity: Identity | None
    """None for objects."""
    digest: Callable[[], str | None]
    """Returns its SHA-256 in hex."""


class Storage(Protocol):
    """A place of inputs and outputs. All methods but `find` may be called by several threads."""

    def find(
        self, source: Path, recursive: bool, files_from: str | os.PathLike[str] | None, shard: Shard | None
    ) -> tuple[Path, Collection[str]]:
        """Return the base of relative names and the sorted image files, as `find_sources` does."""

    def images_in(self, folder: Path) -> Iterator[str]:
        """Yield the images of a folder, in any order; none if there is no such folder.

        Raises:
            ImageError: It cannot be read.
        """

    def is_file(self, path: Path) -> bool:
        """Tell whether a path leads to a file or an object."""

    def is_folder(self, path: Path) -> bool:
        """Tell whether a path leads to a folder, or objects have it as a prefix."""

    def exists(self, path: Path) -> bool:
        """Tell whether a path is taken."""

    def survey(self, paths: Iterable[Path], folder: Path | None) -> None:
        """Prepare for questions about many paths; within a folder that is as large as what is asked, if it is given."""

    def check_writable(self, folder: Path) -> None:
        """Check that a folder can be created and written to, without creating it.

        Raises:
            InputError, ImageError: It cannot.
        """

    def prepare(self, folder: Path) -> str | None:
        """Prepare to write below a folder; return what the user should know about it, if anything.

        Raises:
            ImageError: It cannot be written to.
        """

    def remove_unfinished(self, folders: Iterable[Path]) -> None:
        """Delete what killed processes left in folders."""

    def size(self, path: Path) -> int:
        """Return the bytes of a file as far as they are known at no cost; else 0."""

    def stamp(self, path: Path) -> Stamp:
        """Return the stamp of a file; zeros if it is gone."""

    def remember(self, path: Path, stamp: Stamp) -> None:
        """Take over the stamp of a file from another process that has asked the store."""

    def sha256(self, path: Path) -> str | None:
        """Return the SHA-256 of a file in hex; None if it is gone, or cannot be read.

        Raises:
            ImageError: A store does not answer.
        """

    def is_whole(self, path: Path) -> bool:
        """Tell whether a file is an image that can be read.

        Raises:
            ImageError: A store does not answer.
        """

    def read(
        self,
        path: Path,
        max_pixels: int,
        before_allocate: Callable[[int], None] | None,
        value_range: tuple[float, float] | None,
    ) -> Image:
        """Read an image as `read_image` does."""

    def save(
        self,
        path: Path,
        image: Image,
        *,
        may_replace: Callable[[], bool],
        begin: Callable[[Finished], None],
        quality: int | None,
    ) -> tuple[tuple[str, ...], Stamp]:
        """Write an image as a whole, or not at all.

        Args:
            path: The output; missing folders are created.
            image: As for `write_image`.
            may_replace: Called right before an existing output would be replaced.
            begin: Called before the output gets its name.
            quality: As for `write_image`.

        Returns:
            The metadata that the output does not have, and the stamp of the output.

        Raises:
            OutputExistsError, ImageError, MissingDependencyError: As `write_image`.
            OSError: A folder cannot be created.
        """


def stamp_of_object(size: int, e_tag: str | None, modified: datetime | None) -> Stamp:
    """Return the stamp of an object, the same from a list of objects as from itself."""
    version = (e_tag or "").removeprefix("W/").strip('"') or ("" if modified is None else str(int(modified.timestamp())))
    return size, int.from_bytes(hashlib.sha256(version.encode()).digest()[:7], "big")
