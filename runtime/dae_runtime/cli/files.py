"""What `dae-run` does with image files: one, a folder, a pattern, a hot folder. Calls the library, prints."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..command import EXIT_SOME_FILES_FAILED
from ..errors import InputError, OutputExistsError
from .options import max_pixels, model_paths, open_denoiser
from .progress import Progress
from .resume import Past, look_back, manifest_path, open_manifest
from .tally import Tally

if TYPE_CHECKING:
    from ..inference import Denoiser
    from ..jobs.manifest import Manifest
    from ..jobs.plan import Job
    from ..jobs.worker import FileResult
    from ..report import RunReport

PLAN_OPTIONS = ("recursive", "suffix", "format")


def denoise_files(source: str, output: str, model: str | None, options: dict[str, Any]) -> int:
    """Denoise one file, a folder or the matches of a pattern; return the exit code."""
    path = manifest_path(output, options)
    jobs = _plan(source, output, options)
    past = look_back(jobs, path, model, options)
    if options["dry_run"]:
        _print_plan(jobs, past, options["overwrite"])
    _check_outputs(jobs, path, past, options)
    report = _report_path(jobs, path, model, past, options)
    if options["dry_run"]:
        return 0
    tally = Tally(len(jobs))
    if past is not None:
        jobs = _take_up(jobs, past, tally, options["quiet"])
    with open_denoiser(model, options, len(jobs)) as denoiser, open_manifest(path, model, options) as manifest:
        tally.report = None if report is None else _new_report(denoiser, jobs)
        try:
            _run(denoiser, jobs, options, tally, manifest, overwrite=options["overwrite"] or past is not None)
        finally:
            if not options["quiet"]:
                tally.print_summary(denoiser)
        if tally.report and report:
            tally.report.model = denoiser.model  # of the default models, the one that worked last
            models = denoiser.models_used
            tally.report.write(report, device=denoiser.device, seconds=tally.seconds, models=models)
    return EXIT_SOME_FILES_FAILED if tally.failed else 0


def watch_folder(source: str, output: str, model: str | None, options: dict[str, Any]) -> int:
    """Denoise what appears in a folder until the process is interrupted."""
    from ..jobs.watch import POLL_S, HotFolder

    names, path = (*PLAN_OPTIONS, "overwrite"), manifest_path(output, options)
    for name in ("resume", "dry_run", "reference", "report"):
        if options[name]:
            raise click.UsageError(f"--{name.replace('_', '-')} has no use with --watch, which has no end; leave it out.")
    try:
        folder = HotFolder(source, output, **{name: options[name] for name in names})
    except InputError as error:
        raise click.UsageError(str(error)) from error
    with open_denoiser(model, options) as denoiser, open_manifest(path, model, options) as manifest:
        if not options["quiet"]:
            click.echo(f"watching {source}; interrupt to end", err=True)
        tally = Tally(0)
        try:
            while True:
                jobs = folder.look()
                tally.total += len(jobs)
                _run(
                    denoiser,
                    jobs,
                    {**options, "quiet": True},
                    tally,
                    manifest,
                    overwrite=folder.may_replace,
                    note=folder.note,
                )
                if tally.failed and options["fail_fast"]:
                    return EXIT_SOME_FILES_FAILED
                time.sleep(POLL_S)
        finally:
            if not options["quiet"]:
                tally.print_summary(denoiser)


def _plan(source: str, output: str, options: dict[str, Any]) -> list[Job]:
    """Map inputs to outputs; outputs that exist are judged later, when an earlier run's manifest is known."""
    from ..jobs.plan import plan

    try:
        return plan(source, output, **{name: options[name] for name in (*PLAN_OPTIONS, "reference")}, overwrite=True)
    except InputError as error:
        raise click.UsageError(str(error)) from error


def _print_plan(jobs: list[Job], past: Past | None, overwrite: bool) -> None:
    replace = overwrite or past is not None
    marks = past.marks(overwrite) if past else {}
    for job in jobs:
        mark = marks.get(job, "")
        if not mark and os.path.lexists(job.destination):
            mark = "exists: " + ("replaced" if replace else "refused without --overwrite")
        click.echo(f"{job.source} -> {job.destination}" + (f"  ({mark})" if mark else ""))


def _check_outputs(jobs: list[Job], manifest: Path | None, past: Past | None, options: dict[str, Any]) -> None:
    from ..jobs.plan import check_absent

    if options["overwrite"]:
        return
    if past is not None:
        past.check_others()
        return
    try:
        check_absent(jobs)
    except OutputExistsError as error:
        if not options["resume"]:
            raise
        raise OutputExistsError(
            f"{error} There is nothing to resume: {manifest} is missing, which a run with --resume or --manifest writes."
        ) from error


def _report_path(
    jobs: list[Job], manifest: Path | None, model: str | None, past: Past | None, options: dict[str, Any]
) -> Path | None:
    """Check where the report goes; None if there shall be none, or an earlier run's stays, which this one adds nothing to."""
    if options["report"] is None:
        return None
    from ..jobs.plan import check_writable

    report = Path(options["report"])
    files = [] if model is None and options["dry_run"] else model_paths(model)
    files += [manifest] if manifest else []
    files += [path for job in jobs for path in (job.source, job.destination, job.reference) if path is not None]
    if report.is_dir():
        raise click.UsageError(f"--report {report} is a folder. Give the name of a file.")
    if report.resolve() in {path.resolve() for path in files}:
        raise click.UsageError(f"--report {report} is an image of this run, its model or its manifest. Give another name.")
    if report.exists() and not options["overwrite"]:
        from ..report import is_report

        if past is None or not is_report(report):
            raise OutputExistsError(f"{report} exists already. Replace it with --overwrite, or give another --report.")
        if not past.remaining.jobs:
            if not options["quiet"]:
                click.echo(f"{report} stays as it is: nothing is left to do", err=True)
            return None
    check_writable(report.parent)
    return report


def _take_up(jobs: list[Job], past: Past, tally: Tally, quiet: bool) -> list[Job]:
    """Clear away what an interrupted run left behind, and return what is still to be done."""
    from ..system.atomic import remove_unfinished

    remove_unfinished({job.destination.parent for job in jobs})
    tally.complete, tally.failed = len(past.remaining.complete), len(past.remaining.failed)
    past.tell_failed(quiet)
    return past.remaining.jobs


def _run(
    denoiser: Denoiser,
    jobs: list[Job],
    options: dict[str, Any],
    tally: Tally,
    manifest: Manifest | None,
    *,
    overwrite: bool | Callable[[Job], bool],
    note: Callable[[FileResult], None] = lambda result: None,
) -> None:
    from ..images import disable_cache
    from ..jobs.run import run_jobs

    disable_cache()
    progress = Progress(len(jobs), options["quiet"])
    results = run_jobs(
        denoiser,
        jobs,
        batch_size=options["batch_size"],
        overwrite=overwrite,
        fail_fast=options["fail_fast"],
        with_references=options["reference"] is not None,
        strength=options["strength"],
        max_pixels=max_pixels(options),
        max_memory_mb=options["max_memory_mb"],
        manifest=manifest,
        step=progress.step,
    )
    with contextlib.closing(results):
        for result in progress.show(results):
            note(result)
            tally.count(result)
            if result.error and options["fail_fast"]:
                break


def _new_report(denoiser: Denoiser, jobs: list[Job]) -> RunReport:
    from ..report import RunReport

    return RunReport(denoiser.model, len(jobs))
