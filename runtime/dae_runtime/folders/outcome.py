"""What a folder run has come to: counted while it goes on, and told at its end."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..system.messages import NAMES_SHOWN, listed

if TYPE_CHECKING:
    from ..inference import Denoiser
    from ..jobs.worker import FileResult
    from ..pixels.scores import Scores


@dataclass(frozen=True)
class Named:
    """Files that have something in common: how many, and the names of the first."""

    count: int = 0
    first: tuple[str, ...] = ()
    """At most five."""

    def with_name(self, name: Path) -> Named:
        """Return the same with one file more."""
        return Named(self.count + 1, (*self.first, str(name))[:NAMES_SHOWN])

    def __str__(self) -> str:
        return listed(self.first, self.count)


@dataclass(frozen=True)
class Failure:
    """A file that has no output."""

    source: Path
    """The input."""
    reason: str
    """One sentence for people, which names the file."""


@dataclass(frozen=True)
class FolderOutcome:
    """What a folder run has come to. Picklable."""

    total: int
    """Files that were asked for: `done`, `skipped`, `failed`, and, where the run was ended early, others."""
    done: int
    """Files that were denoised and written by this run."""
    skipped: int
    """Files whose output an earlier run has completed."""
    failed: int
    """Files that have no output: they failed in this run, or in an earlier one and were left alone."""
    failures: tuple[Failure, ...]
    """The failed files, those of an earlier run first."""
    cancelled: bool
    """Whether `cancel` ended the run before its last file."""
    seconds: float
    """Wall time, that of planning included."""
    device: str
    """Where the model ran: `cpu` or `cuda:N`."""
    models: tuple[str, ...]
    """Names of the models that the denoiser has used so far; one, of the two default models perhaps both."""
    scores: Scores | None
    """Mean PSNR and SSIM before and after, over the files with a reference; None if there was none."""
    compared: int
    """Files with a reference."""
    not_compared: int
    """Files that could not be compared, where references were asked for."""
    lossy: Named
    """Lossless images that were written with loss, because their names say JPEG or WebP and no format was asked for."""
    shallow: Named
    """Images of 16 bits that were written with 8, because their format holds no more."""
    manifest: Path | None
    """The manifest, if there is one."""
    report: Path | None
    """The report, if this run has written one."""


@dataclass
class Tally:
    """Counts what becomes of the files of a run."""

    total: int
    skipped: int = 0
    done: int = 0
    failed: int = 0
    not_compared: int = 0
    lossy: Named = field(default_factory=Named)
    shallow: Named = field(default_factory=Named)
    scores: list[Scores] = field(default_factory=list)
    start_s: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.perf_counter() - self.start_s

    def count(self, result: FileResult) -> None:
        """Take a result into account."""
        self.done += result.error is None
        self.failed += result.error is not None
        self.not_compared += result.reference_error is not None
        if result.unasked_loss:
            self.lossy = self.lossy.with_name(result.job.source)
        if result.depth_loss:
            self.shallow = self.shallow.with_name(result.job.source)
        if result.scores:
            self.scores.append(result.scores)

    def outcome(
        self,
        denoiser: Denoiser,
        *,
        failures: tuple[Failure, ...] = (),
        cancelled: bool = False,
        manifest: Path | None = None,
        report: Path | None = None,
    ) -> FolderOutcome:
        """Return what the run has come to so far."""
        from ..pixels.scores import mean_scores

        return FolderOutcome(
            total=self.total,
            done=self.done,
            skipped=self.skipped,
            failed=self.failed,
            failures=failures,
            cancelled=cancelled,
            seconds=self.seconds,
            device=denoiser.device,
            models=tuple(model.name for model in denoiser.models_used or (denoiser.model,)),
            scores=mean_scores(self.scores) if self.scores else None,
            compared=len(self.scores),
            not_compared=self.not_compared,
            lossy=self.lossy,
            shallow=self.shallow,
            manifest=manifest,
            report=report,
        )
