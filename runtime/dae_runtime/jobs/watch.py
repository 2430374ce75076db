"""A hot folder: finds new and changed files once they are completely written."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..images import find_images
from .entry import DONE, Entry, Settings
from .local import file_sha256, file_stamp
from .manifest import entry_of
from .plan import Job, plan_folder
from .protection import Protection
from .storage import Stamp

if TYPE_CHECKING:
    from .results import FileResult

POLL_S = 1.0
"""Seconds between two scans of a watched folder."""
LONGEST_WAIT = 60
"""Most scans between two attempts at a file that failed for a reason that may pass."""

logger = logging.getLogger(__name__)


class HotFolder:
    """Finds new and changed files of a folder once they are complete.

        folder = HotFolder("scans/", "clean/")
        while True:
            jobs = folder.look()
            for result in run_jobs(denoiser, jobs, may_replace=folder.may_replace, protection=folder.protection):
                folder.note(result)
            time.sleep(POLL_S)

    A file counts as complete when its size and time are equal in two successive scans. Memory and time of a scan grow with
    the number of files: remove inputs that are done.

    Args:
        source: The folder to watch.
        output: Output folder outside `source`; mirrors its tree.
        recursive: Include sub-folders.
        suffix: As for `plan`.
        format: As for `plan`.
        overwrite: Replace existing outputs and outputs changed by other programs. Without it, inputs with an existing output
            count as done, and only outputs that were noted as written, and are unchanged, are replaced.

    Raises:
        InputError: `source` is not a folder, `output` lies inside it or is a file, or `suffix` or `format` is invalid.
        ImageError: `output` cannot be created or written to.
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
        self._looks = 0
        self._retries: dict[Path, tuple[int, int]] = {}
        self.protection = Protection()
        """For `run_jobs`: the files of the folder."""

    def recall(self, entries: Mapping[str, Entry], settings: Settings) -> int:
        """Take over what earlier runs have done with the same settings, from their manifest; return how many are complete.

        An input that has changed since is found as a changed one, and its output is replaced; an output that was changed since
        counts as another program's.

        Raises:
            ImageError: The folder cannot be read now.
        """
        complete = 0
        for path in find_images(self._source, self._recursive, warn=False):
            job = Job(path, self._destination(path))
            entry, stamp = entry_of(job, entries), file_stamp(job.source)
            if entry is None or entry.status != DONE or entry.settings != settings:
                continue
            if entry.output_sha256 is None or file_sha256(job.destination) != entry.output_sha256:
                continue
            self._owners[job.destination], self._written[job.destination] = path, file_stamp(job.destination)
            if (entry.source_bytes, entry.source_mtime_ns) == stamp:
                self._taken[path] = stamp
                complete += 1
        return complete

    def look(self) -> list[Job]:
        """Return the jobs that are new since the last scan, and those whose failure may have passed.

        A file that failed for want of space, memory or permission comes again at the next look, then after 2, 4, ... looks.

        Raises:
            ImageError: The folder cannot be read now.
        """
        self._looks += 1
        stamps = {path: file_stamp(path) for path in find_images(self._source, self._recursive, warn=False)}
        whole = [
            path
            for path, stamp in stamps.items()
            if self._seen.get(path) == stamp and (self._taken.get(path) != stamp or self._is_due(path))
        ]
        self._seen = stamps
        self.protection.keep(stamps)
        self._retries = {path: retry for path, retry in self._retries.items() if path in stamps}
        self._taken = {path: stamp for path, stamp in self._taken.items() if path in stamps}
        self._owners = {output: path for output, path in self._owners.items() if path in stamps}
        self._written = {output: stamp for output, stamp in self._written.items() if output in self._owners}
        self._taken.update((path, stamps[path]) for path in whole)
        return [job for job in map(self._job, whole) if job is not None]

    def note(self, result: FileResult) -> None:
        """Note the result of a job: its output may be replaced when the input changes, a failure may pass."""
        source = result.job.source
        if result.output_stamp is not None:
            self._written[result.job.destination] = result.output_stamp
        if not result.may_pass:
            self._retries.pop(source, None)
            return
        wait = min(2 * self._retries[source][1], LONGEST_WAIT) if source in self._retries else 1
        self._retries[source] = self._looks + wait, wait

    def may_replace(self, job: Job) -> bool:
        """Tell whether an existing output of a job may be replaced; thread-safe."""
        return self._overwrite or self._written.get(job.destination) == file_stamp(job.destination)

    def is_retry(self, job: Job) -> bool:
        """Tell whether a job of the last look has failed before, for a reason that may pass."""
        return job.source in self._retries

    def _is_due(self, path: Path) -> bool:
        return path in self._retries and self._looks >= self._retries[path][0]

    def _job(self, path: Path) -> Job | None:
        output = self._destination(path)
        job, owner = Job(path, output), self._owners.get(output)
        if owner not in (None, path):
            logger.warning("%s: skipped, %s is the output of %s", path, output, owner)
            return None
        if os.path.lexists(output) and not self.may_replace(job):
            if owner is None:
                logger.info("%s: skipped, %s exists", path, output)
            else:
                text = (
                    "%s: skipped, %s was written or changed by another program; move it away, or replace it with --overwrite"
                )
                logger.warning(text, path, output)
            return None
        self._owners[output] = path
        return job
