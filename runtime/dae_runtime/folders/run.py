"""A folder run: denoise planned files, write the manifest and the report."""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from ..errors import InputError
from ..inference import Denoiser
from ..jobs.cluster import Cluster as Cluster
from ..jobs.journal import Journal
from ..jobs.locations import ObjectPath, is_url, path_of
from ..jobs.losses import compare_again
from ..jobs.manifest import Manifest
from ..jobs.parts import PartManifest
from ..jobs.places import storage_of
from ..jobs.plan import output_folder
from ..jobs.pool import Pool
from ..jobs.protection import Protection
from ..jobs.results import FileResult, JobOptions
from ..jobs.run import run_jobs
from ..report import RunReport
from .outcome import Failure, FolderOutcome, Tally
from .planning import FolderPlan, plan_request
from .request import FolderRequest
from .resume import is_alone, open_manifest

logger = logging.getLogger(__name__)

STORE_TRANSFERS = 4
"""Files that are read from a store and written to it while others are denoised."""


def run_folder(
    request: FolderRequest,
    denoiser: Denoiser,
    *,
    progress: Callable[[int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
    cluster: Cluster | None = None,
) -> FolderOutcome:
    """Denoise the files of a request as `dae-run IN OUT` does, with manifest, resume, references and report.

    Several files are processed at once, as many as the CPUs allow for the `threads` of the denoiser: `Denoiser(threads=1)` is
    best for many images of ordinary size. A failed file does not stop the others. Outputs are written atomically. Prints
    nothing.

    Args:
        request: The files and how to denoise them.
        denoiser: Stays open. Its model file is read again for the manifest.
        progress: Called after each file, in the calling thread, with the numbers of finished and of all files of this run. An
            exception ends the run and propagates.
        cancel: Called before each file and each tile of a large image, by any thread, e.g. `threading.Event.is_set`; true ends
            the run. Finished outputs stay; the same request continues from there.
        cluster: The Ray cluster that does the work, with the models of the denoiser, which itself does none: it may be opened
            with `device="cpu"` and `threads=1`. Files finish in any order. None: this process does the work.

    Returns:
        Counts, failures with their reasons, and whether `cancel` ended the run.

    Raises:
        InputError: There is no input, or names of inputs, outputs, references, manifest, report and model collide; or there is
            a memory limit, and a cluster.
        OutputExistsError: An output or the report exists that is not of an earlier run of this request, by its manifest, and
            `request` does not allow replacing it.
        ImageError: A folder cannot be read, or the output folder cannot be created or written to.
        ModelError: The model file, whose SHA-256 the manifest records, cannot be read.
        MissingDependencyError: The engine, the image library, or Ray is not installed.
        DaeError: The manifest cannot be written, or another run writes to it; or the cluster cannot be reached, or has no
            worker for too long.

    Example:
        >>> with Denoiser("model.onnx", threads=1) as denoiser:
        ...     outcome = run_folder(FolderRequest("noisy/", "clean/"), denoiser)
        >>> print(outcome.done, outcome.failures)
    """
    if not isinstance(request, FolderRequest):
        raise InputError(f"expected a FolderRequest, received {type(request).__name__}. Write FolderRequest(source, output).")
    if cluster is not None:
        cluster.check(request.max_memory_mb)
    plan = plan_request(request, lambda: denoiser.sources)
    plan.check()
    with open_run(plan, denoiser, cancel=cancel, cluster=cluster) as run, contextlib.closing(run.results()) as results:
        for finished, _ in enumerate(results, 1):
            if progress is not None:
                progress(finished, len(plan.remaining))
        run.write_report()
        return run.outcome()


class FolderRun:
    """A running folder run; create it with `open_run`."""

    def __init__(
        self,
        plan: FolderPlan,
        denoiser: Denoiser,
        manifest: Manifest | None,
        cancel: Callable[[], bool] | None,
        step: Callable[[], None] | None,
        finished: Callable[[FileResult], None] | None,
        cluster: Cluster | None = None,
    ) -> None:
        self._plan, self._denoiser, self._manifest = plan, denoiser, manifest
        source, output = path_of(plan.request.source), output_folder(path_of(plan.request.output))
        self._pool = None if cluster is None else Pool(cluster, denoiser, source, output)
        self._engine = self._pool or denoiser
        self._cancel, self._step, self._finished, self._cancelled = cancel, step, finished, False
        self._failures = [] if plan.past is None else [*plan.past.failures(), *plan.past.contested()]
        skipped = 0 if plan.past is None else len(plan.past.remaining.complete) + len(plan.past.remaining.edited)
        self._tally = Tally(len(plan.jobs), skipped=skipped, failed=len(self._failures), start_s=plan.start_s)
        read = job_options(plan.request).read
        self._report = None if plan.report is None else RunReport(denoiser.model, len(plan.jobs), read=read)
        self._written: Path | None = None

    def results(self) -> Generator[FileResult, None, None]:
        """Denoise the remaining files and yield their results: in order, or from a cluster as they come.

        Raises:
            MissingDependencyError: The engine or the image library is not installed.
            DaeError: The manifest cannot be written, or the cluster fails.
        """
        if self._plan.past is not None:
            storage_of(path_of(self._plan.request.output)).remove_unfinished(self._plan.jobs.folders())
        request = self._plan.request
        if request.fail_fast and self._plan.past is not None and self._plan.past.remaining.contested:
            return
        jobs = self._plan.remaining if self._manifest is None else self._manifest.announced(self._plan.remaining)
        transfers = STORE_TRANSFERS if is_url(request.source) or is_url(request.output) else 1
        engine = partial(run_jobs, self._denoiser, step=self._step) if self._pool is None else self._pool.run_jobs
        results = engine(
            jobs,
            job_options(request),
            may_replace=self._plan.may_replace,
            manifest=self._manifest,
            protection=Protection(self._plan.jobs),
            cancel=self._is_cancelled,
            finished=self._finished,
            transfers=transfers,
        )
        with contextlib.closing(results):
            for result in results:
                self._count(result)
                yield result
                if result.error and request.fail_fast:
                    break

    def write_report(self) -> None:
        """Write the report, if the run has one: over its files and those that an earlier run has made.

        Raises:
            InputError: It cannot be written.
        """
        if self._report is not None and self._plan.report is not None:
            kept = self._add_kept(self._report)
            self._report.model = self._engine.model  # of the default models, the last one used
            self._report.write(
                self._plan.report,
                device=self._engine.device,
                seconds=self._tally.seconds,
                models=self._engine.models_used,
                title="the default models" if kept and len(self._denoiser.sources) > 1 else None,
                overwrite=self._plan.may_replace_report,
            )
            self._written = self._plan.report

    def _add_kept(self, report: RunReport) -> int:
        """Add what an earlier run has made or failed at, from its manifest and the files; return how many are kept."""
        past = self._plan.past
        if past is None:
            return 0
        for job in past.remaining.complete:
            if self._is_cancelled():
                break
            entry = past.entry(job)
            report.add_kept(job, compare_again(job, report.read), entry.level, entry.lost)
        failed = zip(past.remaining.failed, past.failures(), strict=True)
        contested = zip(past.remaining.contested, past.contested(), strict=True)
        for job, failure in itertools.chain(failed, contested):
            report.add(job, failure.reason)
        report.edited = len(past.remaining.edited)
        return len(past.remaining.complete)

    def outcome(self) -> FolderOutcome:
        """Return the outcome so far."""
        tally = replace(self._tally, done=self.whole - self._tally.skipped)
        return tally.outcome(
            self._engine,
            failures=tuple(self._failures),
            cancelled=self._cancelled and not self.finished,
            edited=() if self._plan.past is None else tuple(job.destination for job in self._plan.past.remaining.edited),
            manifest=self._plan.manifest,
            report=self._written,
        )

    @property
    def whole(self) -> int:
        """Files that have their output, as far as the run keeps a manifest: also those not among the results yet."""
        return self._tally.skipped + (self._tally.done if self._manifest is None else self._manifest.done)

    @property
    def finished(self) -> bool:
        """Whether each file is done or failed."""
        return self._tally.done + self._tally.failed + self._tally.skipped == self._tally.total

    def _count(self, result: FileResult) -> None:
        self._tally.count(result)
        if result.error is not None:
            self._failures.append(Failure(result.job.source, result.error))
        if self._report is not None:
            self._report.add(result.job, result.error, result.scores, result.level, result.lost)

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
    finished: Callable[[FileResult], None] | None = None,
    cluster: Cluster | None = None,
) -> Iterator[FolderRun]:
    """Start a run that yields its results one by one; the manifest is open until the block ends.

    Args:
        plan: The checked plan.
        denoiser: The open denoiser; stays open.
        cancel: As for `run_folder`.
        step: Called before each run of the engine, by any thread.
        finished: Called after each file, by any thread, as for `run_jobs`.
        cluster: As for `run_folder`.

    Raises:
        InputError: A noise level is given, and the model estimates it by itself.
        ModelError: A model cannot be read.
        DaeError: The manifest cannot be written, or another run has written to it.
    """
    denoiser.check(plan.request.controls)
    opened: contextlib.AbstractContextManager[Manifest | None]
    if plan.remaining:
        folder = output_folder(path_of(plan.request.output))
        if (warning := storage_of(folder).prepare(folder)) is not None:
            logger.warning("%s", warning)
    if isinstance(plan.manifest, ObjectPath):
        opened = PartManifest(plan.manifest, plan.settings)
    elif plan.manifest is None or plan.request.manifest is not None or plan.request.resumes:
        alone = is_alone(plan.request)
        opened = open_manifest(plan.manifest, lambda: plan.settings, alone, plan.planned_bytes, plan.check_sharing)
    else:
        opened = Journal(plan.manifest, plan.settings, plan.planned_bytes, plan.check_sharing)
    with opened as manifest:
        yield FolderRun(plan, denoiser, manifest, cancel, step, finished, cluster)


def job_options(request: FolderRequest) -> JobOptions:
    """Return the job options of a request."""
    limit = {} if request.max_pixels is None else {"max_pixels": request.max_pixels}
    return JobOptions(
        batch_size=request.batch_size,
        controls=request.controls,
        value_range=request.value_range,
        quality=request.quality,
        max_memory_mb=request.max_memory_mb,
        with_references=request.reference is not None,
        fail_fast=request.fail_fast,
        **limit,
    )
