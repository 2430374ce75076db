"""Inputs and outputs in a bucket of an object store."""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

from ..errors import DaeError, ImageError, InputError, OutputExistsError
from ..images import (
    IMAGE_SUFFIXES,
    Image,
    PassedOver,
    image_bytes,
    is_image_name,
    most_bytes,
    read_image_bytes,
)
from .bucket import Bucket, Found, TakenError
from .inputs import Seen, listed_images
from .locations import PARTS_NAME, ObjectPath
from .shards import Shard
from .storage import Finished, Stamp
from .table import Names, Table

REQUESTS = 32
"""Requests at once when many objects are looked at."""
_BLOCK = 32 * REQUESTS
"""Objects that are looked at before the next are named."""
_GONE = (0, 0)

logger = logging.getLogger(__name__)


class ObjectStorage:
    """Objects of one bucket; see `Storage` for the methods.

    What was listed or looked at is remembered until `find` or `survey` asks again: a request takes as long as some images.
    """

    def __init__(self, scheme: str, bucket: str) -> None:
        self._bucket = Bucket(scheme, bucket)
        self._stamps = Table()
        self._listed: set[str] = set()
        self._heeds_create: bool | None = None

    def find(
        self, source: Path, recursive: bool, files_from: str | os.PathLike[str] | None, shard: Shard | None
    ) -> tuple[Path, Collection[str]]:
        """As `Storage.find`."""
        self._forget(source)
        if files_from is not None:
            return source, listed_images(source, files_from, shard)
        if self.is_file(source):
            return source.parent, [str(source)]
        seen = Seen(None if shard is None else shard.owns)
        images = Names(self._images(source, recursive, warn=True, keep=seen))
        if not seen.any:
            hint = "" if recursive else " Include sub-folders with --recursive."
            raise InputError(
                f"{source} holds no image ({', '.join(IMAGE_SUFFIXES)}).{hint} Stores take no patterns: give a folder, or "
                "names by --files-from."
            )
        return source, images

    def images_in(self, folder: Path) -> Iterator[str]:
        """As `Storage.images_in`."""
        return self._images(folder, recursive=False, warn=False, keep=Seen(None))

    def is_file(self, path: Path) -> bool:
        """As `Storage.is_file`."""
        return bool(_key(path)) and is_image_name(path) and self.exists(path)

    def is_folder(self, path: Path) -> bool:
        """As `Storage.is_folder`."""
        folders, objects = self._bucket.level(_key(path))
        return bool(folders or objects)

    def exists(self, path: Path) -> bool:
        """As `Storage.exists`."""
        return self.stamp(path) != _GONE

    def survey(self, paths: Iterable[Path], folder: Path | None) -> None:
        """List the folder, or look at each object, several at once."""
        if folder is not None:
            self._listed.clear()
            self._forget(folder)
            self._stamps.update((found.key, found.stamp) for found in self._bucket.walk(_key(folder)))
            self._listed.add(_prefix(folder))
            return
        keys = map(_key, paths)
        with ThreadPoolExecutor(REQUESTS) as pool:
            while block := list(itertools.islice(keys, _BLOCK)):
                for _ in pool.map(self._look, block):
                    pass

    def check_writable(self, folder: Path) -> None:
        """Do nothing: the first object that is written tells."""

    def remove_unfinished(self, folders: Iterable[Path]) -> None:
        """Do nothing: an object appears as a whole."""

    def size(self, path: Path) -> int:
        """As `Storage.size`."""
        return int(self._stamps.get(_key(path), _GONE)[0])

    def stamp(self, path: Path) -> Stamp:
        """As `Storage.stamp`."""
        key = _key(path)
        if (known := self._stamps.get(key)) is not None:
            return known[0], known[1]
        return _GONE if any(key.startswith(prefix) for prefix in self._listed) else self._look(key)

    def remember(self, path: Path, stamp: Stamp) -> None:
        """As `Storage.remember`."""
        if stamp != _GONE:
            self._stamps[_key(path)] = stamp

    def sha256(self, path: Path) -> str | None:
        """As `Storage.sha256`."""
        if self._look(_key(path)) == _GONE:
            return None
        return hashlib.sha256(self._bucket.get(_key(path))).hexdigest()

    def is_whole(self, path: Path) -> bool:
        """As `Storage.is_whole`."""
        content = self._bucket.get(_key(path))
        try:
            read_image_bytes(str(path), content)
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
        size, most = self.stamp(path)[0], most_bytes(max_pixels)
        if size > most:
            raise ImageError(f"{path}: {size} bytes are no image of up to {max_pixels / 1e6:.4g} megapixels.")
        return read_image_bytes(str(path), self._bucket.get(_key(path)), max_pixels, before_allocate, value_range)

    def save(
        self,
        path: Path,
        image: Image,
        *,
        may_replace: Callable[[], bool],
        begin: Callable[[Finished], None],
        quality: int | None,
    ) -> tuple[tuple[str, ...], Stamp]:
        """As `Storage.save`. What is there and has the same content counts as written: a store may lose its answer."""
        key = _key(path)
        content, lost = image_bytes(str(path), image, quality)
        digest = hashlib.sha256(content).hexdigest()
        begin(Finished(None, lambda: digest))
        stamp = self._create(key, content)
        if stamp is None:
            now = self._look(key)
            if self.sha256(path) == digest:
                stamp = now
            elif may_replace():
                stamp = self._bucket.put(key, content)
            else:
                raise OutputExistsError(f"{path}: exists. Give another output, or allow overwriting.")
        self._stamps[key] = stamp
        return lost, stamp

    def prepare(self, folder: Path) -> str | None:
        """As `Storage.prepare`: try once whether the store refuses to create an object that exists."""
        if self._heeds_create is None:
            self._heeds_create = self._bucket.heeds_create(_key(folder / PARTS_NAME))
        if self._heeds_create:
            return None
        return (
            f"{self._bucket.url} ignores If-None-Match: each output is looked for before it is written, and one that another "
            "program writes at that moment is replaced"
        )

    def _forget(self, folder: Path) -> None:
        self._stamps.clear(_key(folder))

    def _create(self, key: str, content: bytes) -> Stamp | None:
        """Write an object that is not there yet; None if it is."""
        if not self._heeds_create and self._look(key) != _GONE:
            return None
        try:
            return self._bucket.put(key, content, create=bool(self._heeds_create))
        except TakenError:
            return None

    def _look(self, key: str) -> Stamp:
        stamp = self._bucket.stamp(key) or _GONE
        self._stamps[key] = stamp
        return stamp

    def _images(self, folder: Path, recursive: bool, warn: bool, keep: Seen) -> Iterator[str]:
        prefix = _prefix(folder)
        objects: Iterable[Found] = self._bucket.walk(_key(folder)) if recursive else self._bucket.level(_key(folder))[1]
        passed = PassedOver(folder)
        for found in objects:
            name = found.key.removeprefix(prefix)
            if any(part.startswith(".") for part in name.split("/")):
                continue
            path = folder / name
            if _key(path) != found.key:  # an empty part, as in a//b: two names would become one
                logger.warning("%s/%s: passed over, its name is none of a file", self._bucket.url, found.key)
            elif is_image_name(name):
                if keep(name):
                    self._stamps[found.key] = found.stamp
                    yield str(path)
            else:
                passed.add(name)
        if warn:
            passed.log()


def _key(path: Path) -> str:
    return cast("ObjectPath", path).key


def _prefix(folder: Path) -> str:
    """Return what the keys below a folder begin with."""
    return f"{_key(folder)}/" if _key(folder) else ""
