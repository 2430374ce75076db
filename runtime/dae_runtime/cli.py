"""The command `dae-run`: denoise image files with a model. Parses, calls the library, prints."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from . import __version__
from .command import EXIT_FAILED, EXIT_SOME_FILES_FAILED, run_command
from .errors import InputError
from .models import DEFAULT_MODEL, bundled_models, find_model

if TYPE_CHECKING:
    from .denoiser import Denoiser
    from .folder import FileResult
    from .plan import Job


@dataclass
class _Tally:
    """What a run has come to so far."""

    done: int = 0
    failed: int = 0
    reference_errors: int = 0
    scores: list[Any] = field(default_factory=list)


def _check_device(context: click.Context, parameter: click.Parameter, value: str) -> str:
    from .engine import parse_device

    try:
        parse_device(value)
    except InputError as error:
        raise click.BadParameter(str(error)) from error
    return value


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.argument("source", metavar="IN", required=False)
@click.argument("output", metavar="OUT", required=False)
@click.option("-m", "--model", metavar="MODEL", help="An .onnx file from dae-export, or the name of a bundled model.")
@click.option("--device", default="auto", show_default=True, callback=_check_device, help="auto, cpu, cuda or cuda:N.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads.  [default: the CPUs this process may use]")
@click.option("-b", "--batch-size", type=click.IntRange(1), help="Images held at once.  [default: by their size]")
@click.option("-r", "--recursive", is_flag=True, help="Take sub-folders of IN too; OUT mirrors them.")
@click.option("--format", metavar="EXT", help="Write every output in this format: png, jpg, tif, webp, pgm, ppm.")
@click.option("--suffix", default="", help="Add this to each output's name: _clean makes a_clean.png of a.png.")
@click.option("--reference", metavar="DIR", help="Clean images of the same names: print PSNR and SSIM before and after.")
@click.option("--overwrite", is_flag=True, help="Replace outputs that exist. Inputs are never changed.")
@click.option("--dry-run", is_flag=True, help="Print what would become what, and stop.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first file that fails.")
@click.option("--self-test", is_flag=True, help="Check that this device computes what the model's exporter computed.")
@click.option("--list-models", is_flag=True, help="Print the bundled models.")
@click.option("--doctor", is_flag=True, help="Print what is installed here, what the machine can do, and what is wrong.")
@click.option("-v", "--verbose", is_flag=True, help="Say more on standard error.")
@click.option("-q", "--quiet", is_flag=True, help="Print only errors.")
@click.version_option(__version__, prog_name="dae-run")
def command(source: str | None, output: str | None, model: str | None, **options: Any) -> int:
    """Denoise IN (an image file, a folder, or a quoted pattern such as 'scans/*.png') to OUT.

    \b
    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 finished but some files failed, 130 interrupted.
    """  # noqa: D301 - click's mark for a paragraph that is kept as it is
    _configure_log(options["verbose"], options["quiet"])
    actions: dict[str, Callable[[], int]] = {
        "list_models": _list_models,
        "doctor": _doctor,
        "self_test": lambda: _self_test(_open(model, options)),
    }
    chosen = [name for name in actions if options[name]]
    if len(chosen) > 1 or (chosen and source is not None):
        raise click.UsageError("--self-test, --list-models and --doctor stand alone: give one of them, without IN and OUT.")
    if chosen:
        return actions[chosen[0]]()
    if source is None or output is None:
        raise click.UsageError("IN and OUT are needed. For instance: dae-run -m model.onnx noisy/ clean/")
    return _denoise_files(source, output, model, options)


def main() -> None:
    """Run the command on `sys.argv`."""
    for stream in (sys.stdout, sys.stderr):
        # File names may hold bytes that no encoding prints; a name printed approximately beats a crash.
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    run_command(command)


def _denoise_files(source: str, output: str, model: str | None, options: dict[str, Any]) -> int:
    from .plan import plan

    names = ("recursive", "suffix", "format", "reference", "overwrite")
    try:
        jobs = plan(source, output, **{name: options[name] for name in names})
    except InputError as error:
        raise click.UsageError(str(error)) from error
    if options["dry_run"]:
        for job in jobs:
            click.echo(f"{job.source} -> {job.destination}")
        return 0
    start = time.perf_counter()
    with _open(model, options) as denoiser:
        tally = _run(denoiser, jobs, options)
        if not options["quiet"]:
            _print_summary(tally, len(jobs), time.perf_counter() - start, denoiser)
    return EXIT_SOME_FILES_FAILED if tally.failed else 0


def _open(model: str | None, options: dict[str, Any]) -> Denoiser:
    if model is None and DEFAULT_MODEL not in bundled_models():
        raise click.UsageError("no model: give one with -m MODEL, an .onnx file from dae-export.")
    path = find_model(model or DEFAULT_MODEL)  # a wrong name is told before the engine is loaded
    from .denoiser import Denoiser

    return Denoiser(path, options["device"], options["threads"])


def _run(denoiser: Denoiser, jobs: list[Job], options: dict[str, Any]) -> _Tally:
    from .codec import disable_cache
    from .folder import run_jobs

    disable_cache()
    tally = _Tally()
    results = run_jobs(
        denoiser,
        jobs,
        batch_size=options["batch_size"],
        overwrite=options["overwrite"],
        with_references=options["reference"] is not None,
    )
    for result in _with_progress(results, len(jobs), options["quiet"]):
        _count(tally, result)
        if result.error and options["fail_fast"]:
            break
    return tally


def _count(tally: _Tally, result: FileResult) -> None:
    tally.done += result.error is None
    tally.failed += result.error is not None
    tally.reference_errors += result.reference_error is not None
    if result.scores:
        tally.scores.append(result.scores)
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


def _print_summary(tally: _Tally, total: int, seconds: float, denoiser: Denoiser) -> None:
    click.echo(
        f"{tally.done} of {total} files denoised, {tally.failed} failed, in {seconds:.2f} s "
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


def _self_test(denoiser: Denoiser) -> int:
    from .selftest import self_test

    outcome = self_test(denoiser)
    click.echo(
        f"{denoiser.model.name} on {denoiser.device}: largest error {outcome.max_abs_error:.3g}, "
        f"allowed {outcome.allowed:.3g}: {'passed' if outcome.passed else 'FAILED'}"
    )
    return 0 if outcome.passed else EXIT_FAILED


def _list_models() -> int:
    from .denoiser import Denoiser

    for name, path in bundled_models().items():
        with Denoiser(path, "cpu", 1) as denoiser:
            model = denoiser.model
        size_kib = path.stat().st_size / 1024
        color = "gray" if model.channels == 1 else "RGB"
        click.echo(f"{name}  {model.preset}, {color}, {model.precision}, noise {model.noise}, {size_kib:.0f} KiB")
    if not bundled_models():
        click.echo("no models are bundled with this installation")
    return 0


def _doctor() -> int:
    from .doctor import examine

    diagnosis = examine()
    for name, value in diagnosis.facts:
        click.echo(f"{name:12} {value}")
    for problem in diagnosis.problems:
        click.echo(f"problem: {problem}")
    if not diagnosis.problems:
        click.echo("no problems found")
    return EXIT_FAILED if diagnosis.problems else 0


def _configure_log(verbose: bool, quiet: bool) -> None:
    level = logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger(__package__)
    log.addHandler(handler)
    log.setLevel(level)
