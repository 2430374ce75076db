"""The outcome of a folder run, counted while it runs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..system.messages import NAMES_SHOWN, listed

if TYPE_CHECKING:
    from ..inference import Denoiser
    from ..jobs.pool import Pool
    from ..jobs.results import FileResult
    from ..pixels.scores import Scores


@dataclass(frozen=True)
class Named:
    """A number of files, with the first names."""

    count: int = 0
    first: tuple[str, ...] = ()
    """At most five."""

    def with_name(self, name: Path) -> Named:
        """Return a copy with one more file."""
        return Named(self.count + 1, (*self.first, str(name))[:NAMES_SHOWN])

    def __str__(self) -> str:
        return listed(self.first, self.count)


@dataclass(frozen=True)
class Failure:
    """A file that has no output."""

    source: Path
    """The input."""
    reason: str
    """A sentence that names the file."""


@dataclass(frozen=True)
class FolderOutcome:
    """The outcome of a folder run. Picklable."""

    total: int
    """All requested files: `done`, `skipped`, `failed`, and those not reached when the run ended early."""
    done: int
    """Files denoised and written by this run."""
    skipped: int
    """Files completed by an earlier run."""
    failed: int
    """Files without output: failed in this run, or in an earlier one and not retried."""
    failures: tuple[Failure, ...]
    """The failed files, those of an earlier run first."""
    cancelled: bool
    """Whether `cancel` ended the run before its last file."""
    seconds: float
    """Wall time, planning included."""
    device: str
    """Where the model ran: `cpu` or `cuda:N`."""
    models: tuple[str, ...]
    """Names of the models that have denoised an image; several of the default models may be among them, or none."""
    scores: Scores | None
    """Mean PSNR and SSIM before and after, over the files with a reference; None without any."""
    compared: int
    """Files with a reference."""
    not_compared: int
    """Files that could not be compared with a requested reference."""
    lossy: Named
    """Lossless images written lossy, because their names say JPEG or WebP and no format was requested."""
    shallow: Named
    """16-bit images reduced to 8 bits, the most that their format holds."""
    lost: Mapping[str, Named]
    """By what people call it, such as `thumbnail`: metadata of inputs that outputs do not have."""
    edited: tuple[Path, ...]
    """Outputs of an earlier run that another program has changed since, among `skipped`: they stay without `overwrite`."""
    manifest: Path | None
    """The manifest, if any."""
    report: Path | None
    """The report, if this run wrote one."""


@dataclass
class Tally:
    """Counts the results of a run."""

    total: int
    skipped: int = 0
    done: int = 0
    failed: int = 0
    not_compared: int = 0
    lossy: Named = field(default_factory=Named)
    shallow: Named = field(default_factory=Named)
    lost: dict[str, Named] = field(default_factory=dict)
    scores: list[Scores] = field(default_factory=list)
    start_s: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.start_s

    def count(self, result: FileResult) -> None:
        """Count a result."""
        self.done += result.error is None
        self.failed += result.error is not None
        self.not_compared += result.reference_error is not None
        if result.unasked_loss:
            self.lossy = self.lossy.with_name(result.job.source)
        if result.depth_loss:
            self.shallow = self.shallow.with_name(result.job.source)
        for name in result.lost:
            self.lost[name] = self.lost.get(name, Named()).with_name(result.job.source)
        if result.scores:
            self.scores.append(result.scores)

    def outcome(
        self,
        denoiser: Denoiser | Pool,
        *,
        failures: tuple[Failure, ...] = (),
        cancelled: bool = False,
        edited: tuple[Path, ...] = (),
        manifest: Path | None = None,
        report: Path | None = None,
    ) -> FolderOutcome:
        """Return the outcome so far."""
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
            models=tuple(model.name for model in denoiser.models_used),
            scores=mean_scores(self.scores) if self.scores else None,
            compared=len(self.scores),
            not_compared=self.not_compared,
            lossy=self.lossy,
            shallow=self.shallow,
            lost=dict(sorted(self.lost.items())),
            edited=edited,
            manifest=manifest,
            report=report,
        )
