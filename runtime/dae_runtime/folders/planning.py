"""A request that has been looked at: its files, what an earlier run has left, and what stands in the way."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ..errors import InputError, OutputExistsError
from ..jobs.plan import Job, check_absent, check_writable, plan
from .request import FolderRequest
from .resume import Past, look_back, manifest_of, run_settings


@dataclass(frozen=True)
class FolderPlan:
    """What a request comes to. Nothing has been written yet."""

    request: FolderRequest
    models: Callable[[], Iterable[bytes | Path]]
    """Gives the files of the models or their content; called only where they matter."""
    jobs: list[Job]
    """All files, in the order of their names."""
    manifest: Path | None
    """Where the manifest is or will be; None if there shall be none."""
    start_s: float = field(default_factory=time.perf_counter)
    """When the run began, by `time.perf_counter`."""

    @cached_property
    def past(self) -> Past | None:
        """What the run to resume has left; None where there is none.

        Raises:
            InputError: The manifest cannot be read.
            ModelError: A model cannot be read.
        """
        if self.manifest is None or not self.request.resumes or not self.manifest.exists():
            return None
        settings = run_settings(self.models(), self.request.controls)
        return look_back(self.jobs, self.manifest, settings, self.request.retry_failed)

    @property
    def remaining(self) -> list[Job]:
        """What is to be done now."""
        return self.jobs if self.past is None else self.past.remaining.jobs

    @property
    def replaces(self) -> bool:
        """Whether outputs that exist are replaced, once `check` has passed."""
        return self.request.overwrite or self.past is not None

    @cached_property
    def report(self) -> Path | None:
        """Where the report goes; None if there shall be none, or an earlier run's stays, which this one adds nothing to."""
        if self.request.report is None:
            return None
        report = Path(self.request.report)
        idle = self.past is not None and not self.past.remaining.jobs
        return None if idle and not self.request.overwrite and report.exists() else report

    def marks(self) -> dict[Job, str]:
        """Return, for a printed plan, what is special about a job."""
        exists = "exists: " + ("replaced" if self.replaces else "refused without --overwrite")
        found = {job: exists for job in self.jobs if os.path.lexists(job.destination)}
        return found if self.past is None else found | self.past.marks(self.request.overwrite)

    def check(self) -> None:
        """Check that nothing would be replaced that may not be.

        Raises:
            OutputExistsError: Something would.
            InputError: The report's folder cannot be made, or the manifest cannot be read.
            ImageError: The report's folder cannot be written to.
            ModelError: A model cannot be read.
        """
        if not self.request.overwrite:
            self._check_outputs()
            self._check_report()
        if self.report is not None:
            check_writable(self.report.parent)

    def _check_outputs(self) -> None:
        if self.past is not None:
            self.past.check_outputs()
            return
        try:
            check_absent(self.jobs)
        except OutputExistsError as error:
            if not self.request.resumes:
                raise
            raise OutputExistsError(
                f"{error} There is nothing to resume: {self.manifest} is missing, which a run with --resume or --manifest "
                "writes."
            ) from error

    def _check_report(self) -> None:
        from ..report import is_report

        report = self.request.report
        if report is not None and Path(report).exists() and (self.past is None or not is_report(report)):
            raise OutputExistsError(f"{report} exists already. Replace it with --overwrite, or give another --report.")


def plan_request(request: FolderRequest, models: Callable[[], Iterable[bytes | Path]]) -> FolderPlan:
    """Find the files of a request, and check that their names do not collide; no image is opened.

    Args:
        request: What shall be done.
        models: Gives the files of the models or their content; called where there is a manifest or a report.

    Raises:
        InputError: There is no input, two inputs have one output, or the name of an output, report or manifest is taken or of
            no use.
        ImageError: A folder cannot be read, or the output's cannot be made or written to.
    """
    manifest = manifest_of(request)
    jobs = plan(
        request.source,
        request.output,
        recursive=request.recursive,
        suffix=request.suffix,
        format=request.format,
        reference=request.reference,
        overwrite=True,  # those that exist are judged when an earlier run's manifest is known
    )
    found = FolderPlan(request, models, jobs, manifest)
    if request.report is not None:
        _check_report_name(Path(request.report), found)
    return found


def _check_report_name(report: Path, found: FolderPlan) -> None:
    files = [model for model in found.models() if isinstance(model, Path)]
    files += [found.manifest] if found.manifest else []
    files += [path for job in found.jobs for path in (job.source, job.destination, job.reference) if path is not None]
    if report.is_dir():
        raise InputError(f"--report {report} is a folder. Give the name of a file.")
    if report.resolve() in {path.resolve() for path in files}:
        raise InputError(f"--report {report} is an image of this run, its model or its manifest. Give another name.")
