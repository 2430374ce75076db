"""A folder request resolved into files, with the state of an earlier run and conflicts."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ..errors import InputError, OutputExistsError
from ..jobs.entry import Settings
from ..jobs.locations import check_local, path_of
from ..jobs.merging import check_sharing
from ..jobs.places import exists as path_exists
from ..jobs.places import storage_of
from ..jobs.plan import Job, Jobs, check_absent, plan
from ..system.paths import check_reachable, is_folder, is_same
from .request import FolderRequest
from .resume import ResumeState, has_manifest, is_alone, load_resume_state, manifest_of, manifests_of, run_settings


@dataclass(frozen=True)
class FolderPlan:
    """A resolved request; nothing is written yet."""

    request: FolderRequest
    models: Callable[[], Iterable[bytes | Path]]
    """Returns the model files or their content; called only when needed."""
    jobs: Jobs
    """All files, sorted by name."""
    manifest: Path | None
    """Path of the manifest; None for none."""
    start_s: float = field(default_factory=time.perf_counter)
    """Start of the run, by `time.perf_counter`."""

    @cached_property
    def settings(self) -> Settings:
        """Settings that the manifest records; reads the model files.

        Raises:
            ModelError: A model cannot be read.
        """
        request = self.request
        return run_settings(self.models(), request.controls, request.value_range, request.quality)

    @cached_property
    def past(self) -> ResumeState | None:
        """State of the run to continue; None when starting fresh.

        Raises:
            InputError: The manifest cannot be read.
            ModelError: A model cannot be read.
            DaeError: Another run writes to the manifest.
        """
        if self.starts_over or not any(map(has_manifest, manifests_of(self.request))):
            return None
        return load_resume_state(self.jobs, self.settings, self.request, tuple(self.models()))

    @property
    def starts_over(self) -> bool:
        """Whether everything is done again, whatever an earlier run has done."""
        return self.request.overwrite and not self.request.resumes

    @property
    def planned_bytes(self) -> int | None:
        """Size of the manifest that the plan was made by; None if other runs may append to it, or this one starts over."""
        if not is_alone(self.request) or self.starts_over:
            return None
        return self.past.manifest_bytes if self.past else 0

    @property
    def remaining(self) -> Collection[Job]:
        """Files to denoise now."""
        return self.jobs if self.past is None else self.past.remaining.jobs

    @property
    def replaces(self) -> bool:
        """Whether existing outputs are replaced, once `check` has passed."""
        return self.request.overwrite or self.past is not None

    def check_sharing(self) -> None:
        """Check that no other run shares out the same files in another way.

        Raises:
            DaeError: One does.
        """
        if self.manifest is not None:
            check_sharing(manifests_of(self.request)[0], self.request.share)

    def may_replace(self, job: Job) -> bool:
        """Tell whether the file that a job's output would replace now may be replaced; reads that file."""
        return self.request.overwrite or (self.past is not None and self.past.accounts_for(job))

    def may_replace_report(self) -> bool:
        """Tell whether the file that the report would replace now may be replaced; reads that file."""
        from ..report import is_report

        report, past = self._report, self.past
        if self.request.overwrite or report is None or past is None:
            return self.request.overwrite
        return bool(past.remaining.complete or any(past.knows(job) for job in self.jobs)) and is_report(report)

    @cached_property
    def report(self) -> Path | None:
        """Path of the report; None for none, or if nothing is left to add to an earlier run's report."""
        if (report := self._report) is None:
            return None
        idle = self.past is not None and not self.past.remaining.jobs
        return None if idle and not self.request.overwrite and os.path.lexists(report) else report

    @property
    def _report(self) -> Path | None:
        """Path of the report as requested."""
        report, share = self.request.report, self.request.share
        return None if report is None else Path(share.report(os.fspath(report)) if share else report)

    def marked(self) -> Iterator[tuple[Job, str]]:
        """Yield the jobs, each with a note on it for a printed plan, or an empty one."""
        exists = "exists: " + ("replaced" if self.replaces else "refused without --overwrite")
        marks = itertools.repeat("") if self.past is None else self.past.marks(self.request.overwrite)
        for job, mark in zip(self.jobs, marks, strict=False):
            yield job, mark or (exists if path_exists(job.destination) else "")

    def check(self) -> None:
        """Check that no protected file would be replaced.

        Raises:
            OutputExistsError: One would be.
            InputError: The report's folder cannot be created, or the manifest cannot be read.
            ImageError: The report's folder cannot be written to.
            ModelError: A model cannot be read.
            DaeError: Another run writes to the manifest.
        """
        if not self.request.overwrite:
            self._check_outputs()
            self._check_report()
        if self.report is not None:
            storage_of(self.report.parent).check_writable(self.report.parent)

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
                f"{error} There is nothing to resume: {self.manifest}, written by the run before, is missing."
            ) from error

    def _check_report(self) -> None:
        report = self._report
        if report is not None and os.path.lexists(report) and not self.may_replace_report():
            raise OutputExistsError(f"{report} exists already. Replace it with --overwrite, or give another --report.")


def plan_request(request: FolderRequest, models: Callable[[], Iterable[bytes | Path]]) -> FolderPlan:
    """Find the files of a request and check that their names do not collide; opens no image.

    Args:
        request: The files and how to denoise them.
        models: Returns the model files or their content; called if there is a manifest or a report.

    Raises:
        InputError: There is no input, two inputs have the same output, or the name of an output, report or manifest is
            taken or invalid.
        DaeError: Another run shares out the same files in another way.
        ImageError: A folder cannot be read, or the output folder cannot be created or written to.
    """
    for path, name in ((request.manifest, "the manifest"), (request.report, "the report"), (request.files_from, "the list")):
        if path is not None:
            check_local(path, name)
    manifest = manifest_of(request)
    jobs = plan(
        request.source,
        request.output,
        recursive=request.recursive,
        suffix=request.suffix,
        format=request.format,
        reference=request.reference,
        overwrite=True,  # check() judges existing outputs with the manifest of an earlier run
        files_from=request.files_from,
        shard=request.share,
    )
    found = FolderPlan(request, models, jobs, manifest)
    found.check_sharing()
    if jobs:
        output = path_of(request.output)
        listed = request.files_from is None and len(jobs) > 1
        storage_of(output).survey((job.destination for job in jobs), output if listed else None)
    if found._report is not None:
        _check_report_name(found._report, found)
    return found


def _check_report_name(report: Path, found: FolderPlan) -> None:
    own = [*(model for model in found.models() if isinstance(model, Path)), found.manifest]
    images = (path for job in found.jobs for path in job.names)
    check_reachable(report, "the report")
    if is_folder(report):
        raise InputError(f"--report {report} is a folder. Give the name of a file.")
    resolved = os.path.realpath(report)
    files = (path for path in itertools.chain(own, images) if path is not None)
    if any(is_same(report, path) or os.path.realpath(path) == resolved for path in files):
        raise InputError(f"--report {report} is an image of this run, its model or its manifest. Give another name.")
