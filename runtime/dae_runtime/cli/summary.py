"""The failures and the summary that `dae-run` prints."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from ..system.command import echo
from ..system.messages import counted, printable

if TYPE_CHECKING:
    from ..folders import FolderOutcome
    from ..jobs.results import FileResult


def print_failure(result: FileResult) -> None:
    """Print why a file failed or could not be compared, if so."""
    clear_line = "\r\033[K" if sys.stderr.isatty() else ""
    if result.error:
        click.echo(clear_line + printable(f"failed: {result.error}"), err=True)
    if result.reference_error:
        click.echo(clear_line + printable(f"not compared: {result.reference_error}"), err=True)


def print_summary(outcome: FolderOutcome) -> None:
    """Print the summary of a run."""
    _print_losses(outcome)
    models = f" with {' and '.join(outcome.models)}" if outcome.models else ""
    before = f"{outcome.skipped} already complete, " if outcome.skipped else ""
    echo(
        f"{outcome.done} of {counted(outcome.total, 'file')} denoised, {before}{outcome.failed} failed, "
        f"in {outcome.seconds:.2f} s on {outcome.device}{models}"
    )
    if outcome.scores:
        mean, count = outcome.scores, counted(outcome.compared, "file")
        echo(
            f"PSNR {mean.noisy_psnr_db:.2f} -> {mean.denoised_psnr_db:.2f} dB, "
            f"SSIM {mean.noisy_ssim:.4f} -> {mean.denoised_ssim:.4f} (mean of {count} with a reference)"
        )
    if outcome.not_compared:
        echo(f"{counted(outcome.not_compared, 'file')} could not be compared with a reference")


def _print_losses(outcome: FolderOutcome) -> None:
    for name, files in outcome.lost.items():
        click.echo(f"{counted(files.count, 'file')} written without {name}: {files}", err=True)
    if outcome.lossy.count:
        echo(
            f"{counted(outcome.lossy.count, 'file')} named as JPEG, WebP or AVIF with lossless content, written lossy as "
            f"named: {outcome.lossy}. Write PNG to keep every bit",
            err=True,
        )
    if outcome.shallow.count:
        echo(
            f"{counted(outcome.shallow.count, 'file')} reduced from 16 to 8 bits, the most that JPEG, WebP and BMP hold: "
            f"{outcome.shallow}. Write PNG or TIFF to keep every bit",
            err=True,
        )
