"""What `dae-run` does with image files: one, a folder, a pattern, a hot folder. Calls the library, prints."""

from __future__ import annotations

import contextlib
import hashlib
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .command import EXIT_SOME_FILES_FAILED
from .errors import InputError, OutputExistsError
from .models import DEFAULT_MODEL, bundled_models, find_model

if TYPE_CHECKING:
    from .denoiser import Denoiser
    from .folder import FileResult
    from .manifest import Manifest, Settings
    from .plan import Job
    from .report import RunReport

PLAN_OPTIONS = ("recursive", "suffix", "format")


@dataclass
class _Tally:
    """What a run has come to so far."""

    total: int
    complete: int = 0
    """Done by an earlier run."""
    done: int = 0
    failed: int = 0
    reference_errors: int = 0
    scores: list[Any] = field(default_factory=list)
    report: RunReport | None = None
    start: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.start


def denoise_files(source: str, output: str, model: str | None, options: dict[str, Any]) -> int:
    """Denoise one file, a folder or the matches of a pattern; return the exit code."""
    manifest_path = _manifest_path(output, options)
    resuming = manifest_path is not None and options["resume"] and manifest_path.exists()
    jobs = _plan(source, output, {**options, "overwrite": options["overwrite"] or resuming})
    tally = _Tally(len(jobs))
    if resuming and manifest_path is not None:
        jobs = _remaining(jobs, manifest_path, model, options, tally)
    if options["dry_run"]:
        for job in jobs:
            click.echo(f"{job.source} -> {job.destination}")
        return 0
    _check_report(jobs, manifest_path, model, options, replace=options["overwrite"] or resuming)
    with open_denoiser(model, options, len(jobs)) as denoiser, _open_manifest(manifest_path, model, options) as manifest:
        tally.report = _new_report(denoiser, jobs, options)
        try:
            _run(denoiser, jobs, options, tally, manifest, overwrite=options["overwrite"] or resuming)
        finally:
            if not options["quiet"]:
                _print_summary(tally, denoiser)
        if tally.report:
            tally.report.write(options["report"], device=denoiser.device, seconds=tally.seconds)
    return EXIT_SOME_FILES_FAILED if tally.failed else 0


def _check_report(
    jobs: list[Job], manifest_path: Path | None, model: str | None, options: dict[str, Any], *, replace: bool
) -> None:
    if options["report"] is None:
        return
    report = Path(options["report"])
    files = [_model_path(model), *([manifest_path] if manifest_path else [])]
    files += [path for job in jobs for path in (job.source, job.destination)]
    if report.resolve() in {path.resolve() for path in files}:
        raise click.UsageError(f"--report {report} is an image of this run, its model or its manifest. Give another name.")
    if report.exists() and not replace:
        raise OutputExistsError(f"{report} exists already. Replace it with --overwrite, or give another --report.")


def watch_folder(source: str, output: str, model: str | None, options: dict[str, Any]) -> int:
    """Denoise what appears in a folder until the process is interrupted."""
    from .watch import POLL_S, HotFolder

    names = (*PLAN_OPTIONS, "overwrite")
    for name in ("resume", "dry_run", "reference", "report"):
        if options[name]:
            raise click.UsageError(f"--{name.replace('_', '-')} has no use with --watch, which has no end; leave it out.")
    try:
        folder = HotFolder(source, output, **{name: options[name] for name in names})
    except InputError as error:
        raise click.UsageError(str(error)) from error
    manifest_path = _manifest_path(output, options)
    with open_denoiser(model, options) as denoiser, _open_manifest(manifest_path, model, options) as manifest:
        click.echo(f"watching {source}; interrupt to end", err=True)
        tally = _Tally(0)
        try:
            while True:
                jobs = folder.look()
                tally.total += len(jobs)
                _run(denoiser, jobs, {**options, "quiet": True}, tally, manifest, overwrite=True)
                if tally.failed and options["fail_fast"]:
                    return EXIT_SOME_FILES_FAILED
                time.sleep(POLL_S)
        finally:
            if not options["quiet"]:
                _print_summary(tally, denoiser)


def open_denoiser(model: str | None, options: dict[str, Any], files: int = 1) -> Denoiser:
    """Open the model that the options ask for, for so many files."""
    path = _model_path(model)  # a wrong name is told before the engine is loaded
    from .denoiser import Denoiser
    from .folder import threads_for

    memory_mb = options["max_memory_mb"]
    # A limit on memory leaves no room for several images at once.
    threads = options["threads"] or (threads_for(files) if memory_mb is None else None)
    return Denoiser(path, options["device"], threads, options["tile_size"], memory_mb)


def max_pixels(options: dict[str, Any]) -> int:
    """Return how many pixels an image may have."""
    from .codec import MAX_PIXELS

    return MAX_PIXELS if options["max_megapixels"] is None else int(options["max_megapixels"] * 1e6)


def _model_path(model: str | None) -> Path:
    if model is None and DEFAULT_MODEL not in bundled_models():
        raise click.UsageError("no model: give one with -m MODEL, an .onnx file from dae-export.")
    return find_model(model or DEFAULT_MODEL)


def _plan(source: str, output: str, options: dict[str, Any]) -> list[Job]:
    from .plan import plan

    try:
        return plan(source, output, **{name: options[name] for name in (*PLAN_OPTIONS, "reference", "overwrite")})
    except InputError as error:
        raise click.UsageError(str(error)) from error


def _manifest_path(output: str, options: dict[str, Any]) -> Path | None:
    if options["manifest"] is not None:
        return Path(options["manifest"])
    if not options["resume"]:
        return None
    from .manifest import MANIFEST_NAME
    from .plan import is_file_name

    target = Path(output)
    return (target.parent if is_file_name(target) else target) / MANIFEST_NAME


def _settings(model: str | None, options: dict[str, Any]) -> Settings:
    from .manifest import Settings

    return Settings(hashlib.sha256(_model_path(model).read_bytes()).hexdigest(), options["strength"])


def _open_manifest(
    path: Path | None, model: str | None, options: dict[str, Any]
) -> contextlib.AbstractContextManager[Manifest | None]:
    if path is None:
        return contextlib.nullcontext()
    from .manifest import Manifest

    return Manifest(path, _settings(model, options))


def _remaining(jobs: list[Job], path: Path, model: str | None, options: dict[str, Any], tally: _Tally) -> list[Job]:
    from .atomic import remove_unfinished
    from .manifest import read_manifest, remaining_jobs

    remaining = remaining_jobs(jobs, read_manifest(path), _settings(model, options), options["retry_failed"])
    tally.complete, tally.failed = remaining.complete, remaining.failed
    if not options["dry_run"]:
        remove_unfinished({job.destination.parent for job in jobs})
    return remaining.jobs


def _run(
    denoiser: Denoiser,
    jobs: list[Job],
    options: dict[str, Any],
    tally: _Tally,
    manifest: Manifest | None,
    *,
    overwrite: bool,
) -> None:
    from .codec import disable_cache
    from .folder import run_jobs

    disable_cache()
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
    )
    with contextlib.closing(results):
        for result in _with_progress(results, len(jobs), options["quiet"]):
            _count(tally, result)
            if result.error and options["fail_fast"]:
                break


def _new_report(denoiser: Denoiser, jobs: list[Job], options: dict[str, Any]) -> RunReport | None:
    if options["report"] is None:
        return None
    from .report import RunReport

    return RunReport(denoiser.model, len(jobs))


def _count(tally: _Tally, result: FileResult) -> None:
    tally.done += result.error is None
    tally.failed += result.error is not None
    tally.reference_errors += result.reference_error is not None
    if result.scores:
        tally.scores.append(result.scores)
    if tally.report:
        tally.report.add(result.job, result.error, result.scores)
    clear_line = "\r\033[K" if sys.stderr.isatty() else ""
    if result.error:
        click.echo(f"{clear_line}failed: {result.error}", err=True)
    if result.reference_error:
        click.echo(f"{clear_line}not compared: {result.reference_error}", err=True)


def _with_progress(results: Iterable[FileResult], length: int, quiet: bool) -> Iterator[FileResult]:
    if quiet or not sys.stderr.isatty():
        yield from results
        return
    with click.progressbar(results, length=length, label="denoising", show_pos=True, file=sys.stderr) as bar:
        yield from bar


def _print_summary(tally: _Tally, denoiser: Denoiser) -> None:
    before = f"{tally.complete} complete already, " if tally.complete else ""
    click.echo(
        f"{tally.done} of {tally.total} files denoised, {before}{tally.failed} failed, in {tally.seconds:.2f} s "
        f"on {denoiser.device} with {denoiser.model.name}"
    )
    if tally.scores:
        from .quality import mean_scores

        mean = mean_scores(tally.scores)
        click.echo(
            f"PSNR {mean.noisy_psnr_db:.2f} -> {mean.denoised_psnr_db:.2f} dB, "
            f"SSIM {mean.noisy_ssim:.4f} -> {mean.denoised_ssim:.4f} (mean of {len(tally.scores)} files with a reference)"
        )
    if tally.reference_errors:
        click.echo(f"{tally.reference_errors} files could not be compared with a reference")
