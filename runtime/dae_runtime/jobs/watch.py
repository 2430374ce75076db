"""A hot folder: files are taken when whoever puts them there has finished."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..images import find_images
from .manifest import Stamp, file_stamp
from .plan import Job, plan_folder

if TYPE_CHECKING:
    from .worker import FileResult

POLL_S = 1.0
"""How often a watched folder is looked at, in seconds."""

logger = logging.getLogger(__name__)


class HotFolder:
    """Finds the files of a folder that are new, or have changed, and are whole.

        folder = HotFolder("scans/", "clean/")
        while True:
            for result in run_jobs(denoiser, folder.look(), may_replace=folder.may_replace):
                folder.note(result)
            time.sleep(POLL_S)

    A file is taken for whole when its size and its time stayed as they were from one look to the next. Memory and time of a
    look grow with the number of files in the folder: whoever collects the outputs should remove the inputs too.

    Args:
        source: The folder to watch.
        output: Folder for the outputs, outside `source`; the tree is mirrored.
        recursive: Take sub-folders too.
        suffix: As for `plan`.
        format: As for `plan`.
        overwrite: Replace outputs that were there before, and those that others have changed. Without it, inputs that had an
            output are taken as done, and only what was noted as written, and is as it was written, is replaced.

    Raises:
        InputError: `source` is no folder, or `output` lies inside it or is a file, or `suffix` or `format` is of no use.
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
        self._seen: dict[Path, Stamp] = {}
        self._taken: dict[Path, Stamp] = {}
        self._owners: dict[Path, Path] = {}
        self._written: dict[Path, Stamp] = {}

    def look(self) -> list[Job]:
        """Return what there is to do since the last look.

        Raises:
            ImageError: The folder cannot be read.
        """
        stamps = {path: file_stamp(path) for path in find_images(self._source, self._recursive, warn=False)}
        whole = [path for path, stamp in stamps.items() if self._seen.get(path) == stamp and self._taken.get(path) != stamp]
        self._seen = stamps
        self._taken = {path: stamp for path, stamp in self._taken.items() if path in stamps}
        self._owners = {output: path for output, path in self._owners.items() if path in stamps}
        self._written = {output: stamp for output, stamp in self._written.items() if output in self._owners}
        self._taken.update((path, stamps[path]) for path in whole)
        return [job for job in map(self._job, whole) if job is not None]

    def note(self, result: FileResult) -> None:
        """Take note of what became of a job: its output, if it has one, may be replaced when the input changes."""
        if result.output_stamp is not None:
            self._written[result.job.destination] = result.output_stamp

    def may_replace(self, job: Job) -> bool:
        """Tell whether the output of a job, if one is there now, may be replaced. May be asked by any thread."""
        return self._overwrite or self._written.get(job.destination) == file_stamp(job.destination)

    def _job(self, path: Path) -> Job | None:
        output = self._destination(path)
        job, owner = Job(path, output), self._owners.get(output)
        if owner not in (None, path):
            logger.warning("%s: passed over, %s is the output of %s", path, output, owner)
            return None
        if os.path.lexists(output) and not self.may_replace(job):
            if owner is None:
                logger.info("%s: passed over, %s is there already", path, output)
            else:
                logger.warning(
                    "%s: passed over, %s has been written or changed by others; move it away, or replace it with --overwrite",
                    path,
                    output,
                )
            return None
        self._owners[output] = path
        return job
