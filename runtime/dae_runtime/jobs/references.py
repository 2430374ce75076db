"""The clean references of a run's inputs."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection
from pathlib import Path, PurePath

from ..errors import ImageError, InputError
from .locations import check_place, prefix_of
from .places import storage_of
from .table import Table

logger = logging.getLogger(__name__)


class References:
    """The clean images of a run's inputs, of folders that are listed when the first of their images is asked for.

    Args:
        sources: Inputs within `base`, at least one if they are the whole.
        base: Base folder of the relative paths.
        root: Folder with clean images of the same relative path (any image extension), or, for one source, a file.
        whole: Whether the sources are all of a run, not a part, of which perhaps none has a reference.

    Raises:
        InputError: `root` is not a folder, or holds no image for any source of the whole.
        ImageError: `root` cannot be reached.
    """

    def __init__(self, sources: Collection[str], base: Path, root: Path, whole: bool = True) -> None:
        check_place(root, "the reference")
        self._root, storage = root, storage_of(root)
        self._images = Table()
        self._only = os.fspath(root) if len(sources) == 1 and storage.is_file(root) else None
        if self._only is not None:
            return
        if not storage.is_folder(root):
            raise InputError(f"the reference {root} is not a folder of clean images.")
        prefix = prefix_of(base)
        if whole and not any(self.of(name.removeprefix(prefix)) for name in sources):
            name = os.path.basename(next(iter(sources)))  # noqa: PTH119 - text
            raise InputError(f"the reference {root} holds no image with the name of an input, e.g. {name}.")

    def of(self, relative: str) -> str | None:
        """Return the clean image of an input, by its name relative to the base folder, or None."""
        if self._only is not None:
            return self._only
        folder, name = os.path.split(relative)
        if f"{folder}/" not in self._images:
            self._list(folder)
        # By whole name first, then by stem: a clean a.png serves a noisy a.jpg.
        keys = (f"{folder}/{kind}/{key}" for key in (name, PurePath(name).stem) for kind in ("name", "stem"))
        return next((path for key in keys if (path := self._images.get(key)) is not None), None)

    def _list(self, folder: str) -> None:
        self._images[f"{folder}/"] = True
        place = self._root / folder
        try:
            for path in storage_of(place).images_in(place):
                name = PurePath(path)
                self._images[f"{folder}/name/{name.name}"] = path
                stem = f"{folder}/stem/{name.stem}"
                self._images[stem] = max(path, self._images.get(stem, ""))
        except ImageError as error:  # concerns the images of this folder only
            logger.warning("no reference from there: %s", error)
