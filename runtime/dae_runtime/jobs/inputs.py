"""The input files of a run."""

from __future__ import annotations

import contextlib
import glob
import itertools
import logging
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from ..errors import InputError
from ..images import IMAGE_SUFFIXES, PassedOver, is_image_name, walk_images
from ..system.paths import check_reachable, is_folder
from .listing import listed_names
from .locations import prefix_of
from .shards import Shard
from .table import Names

logger = logging.getLogger(__name__)


def find_sources(
    source: str | os.PathLike[str],
    recursive: bool = False,
    files_from: str | os.PathLike[str] | None = None,
    shard: Shard | None = None,
) -> tuple[Path, Collection[str]]:
    """Return the base folder of relative paths and the sorted image files; as text, as they may be very many.

    Sub-folders that cannot be read are among them, so that reading reports them. With `files_from`, the files are those that
    `listed_names` yields, whether they exist or not. Of a folder or a list only the files of a shard are kept, perhaps none.

    Raises:
        InputError: There is no image file, of any shard, or the list cannot be used.
        ImageError: The folder cannot be read.
    """
    check_reachable(source, "the input")
    path = Path(source)
    if files_from is not None:
        if not is_folder(path):
            raise InputError(f"a list of files (--files-from) needs a folder as input, which {path} is not.")
        return path, listed_images(path, files_from, shard)
    if is_folder(path):
        seen = Seen(None if shard is None else shard.part_of(path))
        found = Names(filter(seen, walk_images(path, recursive)))
        if not seen.any:
            hint = "" if recursive else " Include sub-folders with --recursive."
            raise InputError(f"the folder {path} holds no image ({', '.join(IMAGE_SUFFIXES)}).{hint}")
        if not recursive and _has_folders(path):
            logger.info("%s: sub-folders are skipped; include them with --recursive", path)
        return path, found
    if os.path.lexists(path):
        return path.parent, [os.fspath(path)]
    pattern = os.fspath(source)
    if not glob.has_magic(pattern):
        raise InputError(f"{pattern} does not exist. Give an image file, a folder, or a pattern such as 'images/*.png'.")
    matches = glob.iglob(pattern, recursive=True)  # noqa: PTH207 - Path.glob treats ** otherwise
    images = (os.fspath(Path(match)) for match in matches if is_image_name(match) and not is_folder(match))
    if (first := next(images, None)) is None:
        raise InputError(f"no image file ({', '.join(IMAGE_SUFFIXES)}) matches {pattern!r}.")
    base = _fixed_part(path)
    matching = itertools.chain([first], images, _unreadable_folders(base) if "**" in pattern else ())
    return base, Names(matching if shard is None else filter(shard.part_of(base), matching))


class Seen:
    """Asks a function about names, or wants all, and notes whether it was asked."""

    def __init__(self, keep: Callable[[str], bool] | None) -> None:
        self._keep, self.any = keep, False

    def __call__(self, name: str) -> bool:
        self.any = True
        return self._keep is None or self._keep(name)


def listed_images(folder: Path, files_from: str | os.PathLike[str], shard: Shard | None = None) -> Names:
    """Return the images of a list, within a folder or below a URL; sorted, and each once. Of a shard, perhaps none.

    Raises:
        InputError: The list cannot be used, or names no image.
    """
    base = prefix_of(folder)
    seen = Seen(None if shard is None else shard.owns)
    passed = PassedOver(folder)
    images = Names(base + name for name in _images(files_from, passed) if seen(name))
    passed.log()
    if not seen.any:
        raise InputError(f"the list {os.fspath(files_from)} names no image file ({', '.join(IMAGE_SUFFIXES)}).")
    return images


def _images(files_from: str | os.PathLike[str], passed: PassedOver) -> Iterator[str]:
    for name in listed_names(files_from):
        if is_image_name(name):
            yield name
        else:
            passed.add(os.path.basename(name))  # noqa: PTH119 - text, of very many


def _unreadable_folders(base: Path) -> list[str]:
    """Return the folders below a folder that a glob passes over because they cannot be read."""
    errors: list[OSError] = []
    for _, folders, _ in os.walk(base, onerror=errors.append):
        folders[:] = [name for name in folders if not name.startswith(".")]
    return [os.fspath(Path(error.filename)) for error in errors if error.filename]


def _has_folders(folder: Path) -> bool:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:  # finds folders without a stat() per file
        return any(not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False) for entry in entries)
    return False


def _fixed_part(pattern: Path) -> Path:
    """Return the part of a glob before its first wildcard."""
    parts = pattern.parts
    wild = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:wild])
