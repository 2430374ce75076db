"""A hot folder: files are taken when whoever puts them there has finished."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from .images import find_images
from .manifest import source_stamp
from .plan import Job, plan_folder

POLL_S = 1.0
"""How often a watched folder is looked at, in seconds."""

logger = logging.getLogger(__name__)


class HotFolder:
    """Finds the files of a folder that are new, or have changed, and are whole.

    A file is taken for whole when its size and its time stayed as they were from one look to the next. Memory and time of a
    look grow with the number of files in the folder: whoever collects the outputs should remove the inputs too.

    Args:
        source: The folder to watch.
        output: Folder for the outputs, outside `source`; the tree is mirrored.
        recursive: Take sub-folders too.
        suffix: As for `plan`.
        format: As for `plan`.
        overwrite: Replace outputs that were there before. Without it, inputs that have an output are taken as done.

    Raises:
        InputError: `source` is no folder, or `output` lies inside it or is a file.
        ImageError: `output` can be neither made nor written to.
    """

    def __init__(
        self,
        source: str | os.PathLike[str],
        output: str | os.PathLike[str],
        *,
        recursive: bool = False,
        suffix: str = "",
        format: str | None = None,
        overwrite: bool = False,
    ) -> None:
        self._destination = plan_folder(source, output, suffix=suffix, format=format)
        self._source, self._recursive, self._overwrite = source, recursive, overwrite
        self._seen: dict[Path, tuple[int, int]] = {}
        self._taken: dict[Path, tuple[int, int]] = {}
        self._owners: dict[Path, Path] = {}

    def look(self) -> list[Job]:
        """Return what there is to do since the last look; outputs of these jobs may be replaced.

        Raises:
            ImageError: The folder cannot be read.
        """
        stamps = {path: source_stamp(path) for path in find_images(self._source, self._recursive, warn=False)}
        whole = [path for path, stamp in stamps.items() if self._seen.get(path) == stamp and self._taken.get(path) != stamp]
        self._seen = stamps
        self._taken = {path: stamp for path, stamp in self._taken.items() if path in stamps}
        self._owners = {output: path for output, path in self._owners.items() if path in stamps}
        self._taken.update((path, stamps[path]) for path in whole)
        return [job for job in map(self._job, whole) if job is not None]

    def _job(self, path: Path) -> Job | None:
        output = self._destination(path)
        owner = self._owners.get(output)
        if owner is None and output.exists() and not self._overwrite:
            logger.info("%s: passed over, %s is there already", path, output)
            return None
        if owner not in (None, path):
            logger.warning("%s: passed over, %s is the output of %s", path, output, owner)
            return None
        self._owners[output] = path
        return Job(path, output)
