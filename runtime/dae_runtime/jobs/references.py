"""The clean references of a run's inputs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from ..errors import ImageError, InputError
from .locations import check_place
from .places import storage_of

logger = logging.getLogger(__name__)


def find_references(sources: Sequence[Path], base: Path, root: Path, whole: bool = True) -> list[Path | None]:
    """Return the clean image of each source, or None.

    Args:
        sources: Image files within `base`, at least one if they are the whole.
        base: Base folder of the relative paths.
        root: Folder with clean images of the same relative path (any image extension), or, for one source, a file.
        whole: Whether the sources are all of a run, not a part, of which perhaps none has a reference.

    Raises:
        InputError: `root` is not a folder, or holds no image for any source of the whole.
        ImageError: `root` cannot be reached.
    """
    check_place(root, "the reference")
    storage = storage_of(root)
    if len(sources) == 1 and storage.is_file(root):
        return [root]
    if not storage.is_folder(root):
        raise InputError(f"the reference {root} is not a folder of clean images.")
    folders: dict[Path, dict[str, Path]] = {}
    found: list[Path | None] = []
    for source in sources:
        folder = root / source.relative_to(base).parent
        if folder not in folders:
            images = _references_in(folder)
            # By whole name first, then by stem: a clean a.png serves a noisy a.jpg.
            folders[folder] = {path.stem: path for path in images} | {path.name: path for path in images}
        found.append(folders[folder].get(source.name, folders[folder].get(source.stem)))
    if whole and not any(found):
        raise InputError(f"the reference {root} holds no image with the name of an input, e.g. {sources[0].name}.")
    return found


def _references_in(folder: Path) -> Sequence[Path]:
    try:
        return storage_of(folder).images_in(folder)
    except ImageError as error:  # concerns the images of this folder only
        logger.warning("no reference from there: %s", error)
        return []
