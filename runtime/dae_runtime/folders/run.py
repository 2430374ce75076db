"""A folder run: planned, denoised, noted in a manifest and shown in a report."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

from ..inference import Denoiser
from ..jobs.manifest import Manifest
from ..jobs.run import run_jobs
from ..jobs.worker import FileResult, JobOptions
from ..report import RunReport
from ..system.atomic import remove_unfinished
from .outcome import Failure, FolderOutcome, Tally
from .planning import FolderPlan, plan_request
from .request import FolderRequest
from .resume import open_manifest


def run_folder(
    request: FolderRequest,
    denoiser: Denoiser,
    *,
    progress: Callable[[int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> FolderOutcome:
    """Do what `dae-run IN OUT` does: plan, denoise and write files, with manifest, resume, references and report.

    Files are read, denoised and written several at a time: as many images are denoised at once as the CPUs allow for the
    `threads` of the denoiser, so that `Denoiser(threads=1)` is best for many images of ordinary size. A file that fails stops
    no other. Each output is whole or not there. Nothing is printed.

    Args:
        request: What shall be done.
        denoiser: What to denoise with; stays open. Where the run keeps a manifest, its model's file is read again.
        progress: Called after each file by the calling thread, with the number of files that this run has finished, and of
            those that it has to do. What it raises ends the run, and is raised.
        cancel: Asked before each file and each tile of a large image, by any thread (the `is_set` of a `threading.Event` will
            do); true ends the run: files that are finished are whole, others are not there, and `resume` goes on from there.

    Returns:
        What became of the files: failed ones with their reasons, and whether `cancel` ended the run.

    Raises:
        InputError: There is no input, or the names of inputs, outputs, references, manifest, report and model collide.
        OutputExistsError: An output or the report exists, and `request` allows neither to replace nor to resume it.
        ImageError: A folder cannot be read, or the output's cannot be made or written to.
        ModelError: The model's file, which the manifest names by its SHA-256, cannot be read.
        MissingDependencyError: The engine or the image library is not installed.
        DaeError: The manifest cannot be written.

    Example:
        >>> with Denoiser("model.onnx", threads=1) as denoiser:
        ...     outcome = run_folder(FolderRequest("noisy/", "clean/", resume=True), denoiser)
        >>> print(outcome.done, outcome.failures)
    """
    plan = plan_request(request, lambda: denoiser.sources)
    plan.check()
    with open_run(plan, denoiser, cancel=cancel) as run, contextlib.closing(run.results()) as results:
        for finished, _ in enumerate(results, 1):
            if progress is not None:
                progress(finished, len(plan.remaining))
        run.write_report()
        return run.outcome()


class FolderRun:
    """A run under way. Made by `open_run`.

    Args:
        plan: What shall be done; checked.
        denoiser: What to denoise with.
        manifest: Gets a line for each file, if there is one.
        cancel: As for `run_folder`.
        step: Called before each run of the engine, by any thread.
    """

    def __init__(
        self,
        plan: FolderPlan,
        denoiser: Denoiser,
        manifest: Manifest | None,
        cancel: Callable[[], bool] | None,
        step: Callable[[], None] | None,
    ) -> None:
        self._plan, self._denoiser, self._manifest = plan, denoiser, manifest
        self._cancel, self._step, self._cancelled = cancel, step, False
        self._failures = [] if plan.past is None else [*plan.past.failures()]
        skipped = 0 if plan.past is None else len(plan.past.remaining.complete)
        self._tally = Tally(len(plan.jobs), skipped=skipped, failed=len(self._failures), start_s=plan.start_s)
        self._report = None if plan.report is None else RunReport(denoiser.model, len(plan.remaining))
        self._written: Path | None = None

    def results(self) -> Generator[FileResult, None, None]:
        """Denoise the files that remain, and yield what became of each, in order.

        Raises:
            MissingDependencyError: The engine or the image library is not installed.
            DaeError: The manifest cannot be written.
        """
        if self._plan.past is not None:
            remove_unfinished({job.destination.parent for job in self._plan.jobs})
        request = self._plan.request
        results = run_jobs(
            self._denoiser,
            self._plan.remaining,
            job_options(request),
            may_replace=lambda job: self._plan.replaces,
            manifest=self._manifest,
            cancel=self._is_cancelled,
            step=self._step,
        )
        with contextlib.closing(results):
            for result in results:
                self._count(result)
                yield result
                if result.error and request.fail_fast:
                    break

    def write_report(self) -> None:
        """Write the report, if the run has one.

        Raises:
            InputError: It cannot be written.
        """
        if self._report is not None and self._plan.report is not None:
            self._report.model = self._denoiser.model  # of the default models, the one that worked last
            models, seconds = self._denoiser.models_used, self._tally.seconds
            self._report.write(self._plan.report, device=self._denoiser.device, seconds=seconds, models=models)
            self._written = self._plan.report

    def outcome(self) -> FolderOutcome:
        """Return what the run has come to so far."""
        ended_early = self._tally.done + self._tally.failed + self._tally.skipped < self._tally.total
        return self._tally.outcome(
            self._denoiser,
            failures=tuple(self._failures),
            cancelled=self._cancelled and ended_early,
            manifest=self._plan.manifest,
            report=self._written,
        )

    def _count(self, result: FileResult) -> None:
        self._tally.count(result)
        if result.error is not None:
            self._failures.append(Failure(result.job.source, result.error))
        if self._report is not None:
            self._report.add(result.job, result.error, result.scores, result.level)

    def _is_cancelled(self) -> bool:
        if self._cancel is not None and self._cancel():
            self._cancelled = True
        return self._cancelled


@contextlib.contextmanager
def open_run(
    plan: FolderPlan,
    denoiser: Denoiser,
    *,
    cancel: Callable[[], bool] | None = None,
    step: Callable[[], None] | None = None,
) -> Iterator[FolderRun]:
    """Begin a run whose results are taken one by one; the manifest is open until the block ends.

    Args:
        plan: What shall be done; checked.
        denoiser: What to denoise with; stays open.
        cancel: As for `run_folder`.
        step: Called before each run of the engine, by any thread.

    Raises:
        InputError: A noise level is given, and the model estimates it by itself.
        ModelError: A model cannot be read.
        DaeError: The manifest cannot be written.
    """
    denoiser.check(plan.request.controls)
    with open_manifest(plan.manifest, plan.models(), plan.request.controls) as manifest:
        yield FolderRun(plan, denoiser, manifest, cancel, step)


def job_options(request: FolderRequest) -> JobOptions:
    """Return how the files of a request are denoised."""
    limit = {} if request.max_pixels is None else {"max_pixels": request.max_pixels}
    return JobOptions(
        batch_size=request.batch_size,
        controls=request.controls,
        max_memory_mb=request.max_memory_mb,
        with_references=request.reference is not None,
        fail_fast=request.fail_fast,
        **limit,
    )
