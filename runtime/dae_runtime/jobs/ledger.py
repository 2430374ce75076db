"""What the driver of a run on a cluster decides and records for each file: workers write outputs, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ..errors import ImageError
from ..system.paths import identity_of
from .attempts import Item
from .locations import ObjectPath
from .manifest import Manifest
from .places import exists, storage_of
from .plan import Job
from .protection import Protection
from .remote import Row, Task
from .results import FileResult
from .storage import Stamp


@dataclass(frozen=True)
class Ledger:
    """The books of a run; fields as for `run_jobs` of one process."""

    may_replace: Callable[[Job], bool]
    manifest: Manifest | None
    finished: Callable[[FileResult], None] | None
    protection: Protection

    def task(self, item: Item) -> Task:
        """Decide whether a file's output may take the place of what is there, and record it as begun if it may come.

        Raises:
            ManifestError: The manifest cannot be written.
        """
        job, refusal, allowed = item.job, None, item.begun
        if taken := exists(job.destination):
            try:
                self.protection.check(job)
                allowed = allowed or self.may_replace(job)
            except ImageError as error:
                refusal, allowed = str(error), False
        if not item.begun and (allowed or not taken):
            if self.manifest is not None:
                self.manifest.begin(job, (0, 0))
            item.begun = True
        stamp = storage_of(job.source).stamp(job.source) if isinstance(job.source, ObjectPath) else (0, 0)
        return Task(job, stamp, allowed, refusal)

    def settle(self, row: Row, task: Task) -> FileResult | None:
        """Record what came of a file and return it; None if it is to be done again, and what is there replaced.

        Raises:
            ManifestError: The manifest cannot be written.
        """
        result, job = row.result, task.job
        if result.error is None:
            try:
                self.protection.check(job)  # the outputs of two workers may meet on a disk that folds case
            except ImageError as error:
                result = replace(result, error=f"{job.destination}: {error}.", output_stamp=None)
            self.protection.note(job, identity_of(job.destination))
        elif not task.may_replace and task.refusal is None and exists(job.destination) and self.may_replace(job):
            return None  # a worker of the run before, which ended late, has put its own output there
        return self._record(result, row.source_stamp, row.output_sha256)

    def give_up(self, job: Job, deaths: int) -> FileResult:
        """Record a file as failed that its workers died of, and return that.

        Raises:
            ManifestError: The manifest cannot be written.
        """
        error = (
            f"{job.source}: the process that denoised it died {deaths} times. Leave the file out, or give workers more memory."
        )
        return self._record(FileResult(job, error, 0.0), storage_of(job.source).stamp(job.source), None)

    def _record(self, result: FileResult, source_stamp: Stamp, output_sha256: str | None) -> FileResult:
        if self.manifest is not None:
            digest = None if result.error else output_sha256
            self.manifest.record(
                result.job, source_stamp, result.error, result.seconds, digest, result.level, result.lost, result.output_stamp
            )
        if self.finished is not None:
            self.finished(result)
        return result
