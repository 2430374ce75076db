"""`dae-run` on image files: one file, a folder, a pattern or a hot folder."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ImageError
from ..system.command import EXIT_SOME_FILES_FAILED, echo
from ..system.messages import counted
from .options import CLUSTER, RunOptions, usage_errors
from .progress import Progress
from .summary import print_failure, print_summary

if TYPE_CHECKING:
    from ..folders import FolderPlan, Tally
    from ..inference import Denoiser
    from ..jobs.manifest import Manifest
    from ..jobs.plan import Job
    from ..jobs.results import FileResult, JobOptions
    from ..jobs.watch import HotFolder


def denoise_files(source: str, output: str, options: RunOptions) -> int:
    """Denoise one file, a folder or the matches of a pattern; return the exit code."""
    from ..folders import open_run, plan_request
    from ..images import disable_cache

    with usage_errors():
        cluster = options.chosen_cluster()
        plan = plan_request(options.request(source, output), options.model_paths)
    if options.dry_run:
        _print_plan(plan)
    plan.check()
    if options.report is not None and plan.report is None and not options.quiet:
        echo(f"{options.report} stays unchanged: nothing is left to do. Delete it for a new one over all files", err=True)
    _print_unused(plan, options)
    if options.dry_run:
        return 0
    _print_kept(plan, options.quiet)
    progress = Progress(len(plan.remaining), options.quiet)
    with (
        options.open_denoiser(len(plan.remaining)) as denoiser,
        open_run(plan, denoiser, step=progress.step, finished=progress.finish, cluster=cluster) as run,
    ):
        try:
            disable_cache()
            with contextlib.closing(run.results()) as results:
                for result in progress.show(results):
                    print_failure(result)
        except KeyboardInterrupt:
            if plan.manifest is not None and not options.quiet:
                again = "the same command" + (" with --resume" if plan.starts_over else "")
                echo(f"{run.whole} of {counted(len(plan.jobs), 'file')} are whole; {again} goes on from there", err=True)
            raise
        finally:
            if not options.quiet:
                print_summary(run.outcome())
        if plan.report is not None and plan.past is not None and plan.past.remaining.complete and not options.quiet:
            echo(f"{options.report} covers the files kept from before, too", err=True)
        run.write_report()
        return EXIT_SOME_FILES_FAILED if run.outcome().failed else 0


def watch_folder(source: str, output: str, options: RunOptions) -> int:
    """Denoise new files of a folder until the process is interrupted, or until one fails with `fail_fast`."""
    from ..folders import Tally, job_options, manifest_of, open_manifest, run_settings
    from ..images import disable_cache
    from ..jobs.journal import Journal
    from ..jobs.manifest import read_manifest
    from ..jobs.watch import HotFolder

    options.refuse("--watch", "resume", "retry_failed", "dry_run", "reference", "report", "files_from", "shard", *CLUSTER)
    request = options.request(source, output)
    with usage_errors():
        path = manifest_of(request)
        folder = HotFolder(
            source,
            output,
            recursive=options.recursive,
            suffix=options.suffix,
            format=options.format,
            overwrite=options.overwrite,
        )
    assert path is not None  # only a folder is watched
    with options.open_denoiser() as denoiser, contextlib.ExitStack() as stack:
        denoiser.check(options.controls)
        settings = run_settings(denoiser.sources, request.controls, request.value_range, request.quality)
        kept = 0
        with contextlib.suppress(ImageError):  # the folder cannot be read now; the loop says so and waits
            kept = 0 if options.overwrite else folder.recall(read_manifest(path), settings)
        named = request.manifest is not None
        manifest = stack.enter_context(open_manifest(path, lambda: settings) if named else Journal(path, settings, None))
        if not options.quiet:
            before = f"; {kept} kept from before" if kept else ""
            echo(f"watching {source}{before}; interrupt to stop", err=True)
        disable_cache()
        tally = Tally(0)
        try:
            for result in _watched(folder, denoiser, job_options(request), manifest, tally):
                print_failure(result)
        finally:
            if not options.quiet:
                print_summary(tally.outcome(denoiser))
    return EXIT_SOME_FILES_FAILED


def _watched(
    folder: HotFolder, denoiser: Denoiser, options: JobOptions, manifest: Manifest | None, tally: Tally
) -> Iterator[FileResult]:
    """Denoise new files, count and yield their results; stop at the first failure with `fail_fast`."""
    from ..jobs.run import run_jobs
    from ..jobs.watch import POLL_S

    told: dict[Path, str | None] = {}
    unreadable = ""
    while True:
        jobs: list[Job] = []
        try:
            jobs, unreadable = folder.look(), ""
        except ImageError as error:  # for now: a share may come back
            if str(error) != unreadable:
                echo(f"waiting: {error}", err=True)
            unreadable = str(error)
        retried = sum(map(folder.is_retry, jobs))
        tally.total += len(jobs) - retried
        tally.failed -= retried
        with contextlib.closing(
            run_jobs(denoiser, jobs, options, may_replace=folder.may_replace, manifest=manifest, protection=folder.protection)
        ) as results:
            for result in results:
                folder.note(result)
                tally.count(result)
                if result.error is None or told.get(result.job.source) != result.error:
                    yield result
                told.pop(result.job.source, None)
                if result.may_pass:
                    told[result.job.source] = result.error
                if result.error and options.fail_fast:
                    return
        time.sleep(POLL_S)


def _print_plan(plan: FolderPlan) -> None:
    for job, mark in plan.marked():
        echo(f"{job.source} -> {job.destination}" + (f"  ({mark})" if mark else ""))


def _print_unused(plan: FolderPlan, options: RunOptions) -> None:
    from ..images import FORMATS
    from ..jobs.losses import KINDS_OF_QUALITY, NO_QUALITY

    if options.quality is None or options.quiet:
        return
    if not any(FORMATS.get(job.destination.suffix.lower()) in KINDS_OF_QUALITY for job in plan.jobs):
        echo(f"--quality {options.quality} {NO_QUALITY}", err=True)


def _print_kept(plan: FolderPlan, quiet: bool) -> None:
    if plan.past is None:
        return
    remaining = plan.past.remaining
    kept = len(remaining.complete) + len(remaining.edited)
    if kept and not quiet:
        echo(f"{kept} kept from before, {len(remaining.jobs) or 'nothing'} to do", err=True)
    for job in remaining.edited:
        echo(f"kept as changed since it was written: {job.destination} (--overwrite replaces it)", err=True)
    for failure in plan.past.contested():
        echo(f"failed: {failure.reason}", err=True)
    for failure in plan.past.failures():
        echo(f"failed before: {failure.reason}", err=True)
    if remaining.failed and not quiet:
        echo("--retry-failed retries them", err=True)
