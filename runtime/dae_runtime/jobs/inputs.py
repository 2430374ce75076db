"""The input files of a run and their clean references."""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from ..images import IMAGE_SUFFIXES, find_images, is_image_name

logger = logging.getLogger(__name__)


def find_sources(source: str | os.PathLike[str], recursive: bool = False) -> tuple[Path, list[Path]]:
    """Return the base folder of relative paths and the sorted image files.

    Raises:
        InputError: There is no image file.
        ImageError: A folder cannot be read.
    """
    path = Path(source)
    if path.is_dir():
        found = find_images(path, recursive)
        if not found:
            hint = "" if recursive else " Include sub-folders with --recursive."
            raise InputError(f"the folder {path} holds no image ({', '.join(IMAGE_SUFFIXES)}).{hint}")
        if not recursive and _has_folders(path):
            logger.info("%s: sub-folders are skipped; include them with --recursive", path)
        return path, found
    if path.exists() or path.is_symlink():
        return path.parent, [path]
    pattern = os.fspath(source)
    if not glob.has_magic(pattern):
        raise InputError(f"{pattern} does not exist. Give an image file, a folder, or a pattern such as 'images/*.png'.")
    matches = (Path(match) for match in glob.iglob(pattern, recursive=True))  # noqa: PTH207 - Path.glob treats ** otherwise
    found = sorted({match for match in matches if is_image_name(match) and not match.is_dir()})
    if not found:
        raise InputError(f"no image file ({', '.join(IMAGE_SUFFIXES)}) matches {pattern!r}.")
    return _fixed_part(path), found


def find_references(sources: Sequence[Path], base: Path, root: Path) -> list[Path | None]:
    """Return the clean image of each source, or None.

    Args:
        sources: At least one image file within `base`.
        base: Base folder of the relative paths.
        root: Folder with clean images of the same relative path (any image extension), or, for one source, a file.

    Raises:
        InputError: `root` is not a folder, or holds no image for any source.
        ImageError: A folder cannot be read.
    """
    if root.is_file() and len(sources) == 1:
        return [root]
    if not root.is_dir():
        raise InputError(f"the reference {root} is not a folder of clean images.")
    folders: dict[Path, dict[str, Path]] = {}
    found: list[Path | None] = []
    for source in sources:
        folder = root / source.relative_to(base).parent
        if folder not in folders:
            images = find_images(folder) if folder.is_dir() else []
            # By whole name first, then by stem: a clean a.png serves a noisy a.jpg.
            folders[folder] = {path.stem: path for path in images} | {path.name: path for path in images}
        found.append(folders[folder].get(source.name, folders[folder].get(source.stem)))
    if not any(found):
        raise InputError(f"the reference {root} holds no image with the name of an input, e.g. {sources[0].name}.")
    return found


def _has_folders(folder: Path) -> bool:
    with os.scandir(folder) as entries:  # finds folders without a stat() per file
        return any(entry.is_dir() and not entry.name.startswith(".") for entry in entries)


def _fixed_part(pattern: Path) -> Path:
    """Return the part of a glob before its first wildcard."""
    parts = pattern.parts
    wild = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:wild])
