"""What `dae-run` prints of a run: each failure as it comes, and what the run has come to."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from ..system.messages import NAMES_SHOWN, counted, listed

if TYPE_CHECKING:
    from ..inference import Denoiser
    from ..jobs.worker import FileResult
    from ..pixels.scores import Scores
    from ..report import RunReport


@dataclass
class Named:
    """Files that have something in common: how many, and the names of the first."""

    number: int = 0
    first: list[str] = field(default_factory=list)

    def count(self, name: str) -> None:
        """Add a file."""
        self.number += 1
        if self.number <= NAMES_SHOWN:
            self.first.append(name)

    def __str__(self) -> str:
        return listed(self.first, self.number)


@dataclass
class Tally:
    """What a run has come to so far."""

    total: int
    complete: int = 0
    """Done by an earlier run."""
    done: int = 0
    failed: int = 0
    """In this run, or in an earlier one and left alone."""
    reference_errors: int = 0
    lossy: Named = field(default_factory=Named)
    """Lossless images that were written with loss without having been asked for."""
    shallow: Named = field(default_factory=Named)
    """Images of 16 bits that were written with 8."""
    scores: list[Scores] = field(default_factory=list)
    report: RunReport | None = None
    start: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.perf_counter() - self.start

    def count(self, result: FileResult) -> None:
        """Take a result into account, and print why it failed if it did."""
        self.done += result.error is None
        self.failed += result.error is not None
        self.reference_errors += result.reference_error is not None
        if result.unasked_loss:
            self.lossy.count(str(result.job.source))
        if result.depth_loss:
            self.shallow.count(str(result.job.source))
        if result.scores:
            self.scores.append(result.scores)
        if self.report:
            self.report.add(result.job, result.error, result.scores)
        clear_line = "\r\033[K" if sys.stderr.isatty() else ""
        if result.error:
            click.echo(f"{clear_line}failed: {result.error}", err=True)
        if result.reference_error:
            click.echo(f"{clear_line}not compared: {result.reference_error}", err=True)

    def print_summary(self, denoiser: Denoiser) -> None:
        """Print what the run has come to."""
        self._print_losses()
        names = [model.name for model in denoiser.models_used or (denoiser.model,)]
        before = f"{self.complete} complete already, " if self.complete else ""
        click.echo(
            f"{self.done} of {counted(self.total, 'file')} denoised, {before}{self.failed} failed, in {self.seconds:.2f} s "
            f"on {denoiser.device} with {' and '.join(names)}"
        )
        if self.scores:
            from ..pixels.scores import mean_scores

            mean, count = mean_scores(self.scores), counted(len(self.scores), "file")
            click.echo(
                f"PSNR {mean.noisy_psnr_db:.2f} -> {mean.denoised_psnr_db:.2f} dB, "
                f"SSIM {mean.noisy_ssim:.4f} -> {mean.denoised_ssim:.4f} (mean of {count} with a reference)"
            )
        if self.reference_errors:
            click.echo(f"{counted(self.reference_errors, 'file')} could not be compared with a reference")

    def _print_losses(self) -> None:
        if self.lossy.number:
            click.echo(
                f"{counted(self.lossy.number, 'file')} named as JPEG or WebP but lossless inside, written with loss as named: "
                f"{self.lossy}. Write PNG to keep every bit",
                err=True,
            )
        if self.shallow.number:
            click.echo(
                f"{counted(self.shallow.number, 'file')} of 16 bits written with 8, all that JPEG, WebP and BMP hold: "
                f"{self.shallow}. Write PNG or TIFF to keep every bit",
                err=True,
            )
