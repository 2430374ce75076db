"""The report of a run: an HTML page with images and quality figures.

    report = RunReport(denoiser.model, len(jobs))
    for result in run_jobs(denoiser, jobs):
        report.add(result.job, result.error, result.scores)
    report.write("report.html", device=denoiser.device, seconds=12.3)

The page is self-contained. It shows a limited number of images, spread evenly over the run and read again from their files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..contract import Contract
from ..errors import DaeError, InputError, OutputExistsError
from ..images import Image, read_image
from ..system.atomic import write_atomic
from ..system.messages import describe_error
from ..system.paths import open_regular
from .figures import ReportedImage, crop_side, report_image
from .page import MARK, page
from .summary import RunSummary
from .verdict import FALL_DB

if TYPE_CHECKING:
    from ..jobs.plan import Job
    from ..pixels.scores import Scores

MAX_IMAGES = 24
MAX_ERRORS = 20
"""Most failed files listed; the rest is counted."""

_FIRST_BYTES = 512
"""Start of a page, which holds MARK."""


def is_report(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file is a report of any version of this package; false if it cannot be read."""
    try:
        with open_regular(path) as file:
            return MARK.encode() in file.read(_FIRST_BYTES)
    except OSError:
        return False


@dataclass
class RunReport:
    """Collects the content of a report during a run, in bounded memory."""

    model: Contract
    """The model of the run, whose training noise the images are compared with."""
    total: int
    """Number of files of the run, with those that an earlier one has done."""
    limit: int = MAX_IMAGES
    """Most images shown on the page."""
    read: Callable[[Path], Image] = read_image
    """Reads an image, with the limits and the range of the run."""
    edited: int = 0
    """Outputs of an earlier run that another program has changed since: they are not judged."""
    _done: int = 0
    _kept: int = 0
    _failed: int = 0
    _seen: int = 0
    _errors: list[str] = field(default_factory=list)
    _shown: list[tuple[Job, Scores | None, float | None]] = field(default_factory=list)
    _sums: dict[str, float] = field(default_factory=dict)
    _compared: int = 0
    _lost: dict[str, int] = field(default_factory=dict)
    _fallen: int = 0
    _worst: tuple[str, float] | None = None

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise InputError(f"a report shows at least 1 image, not {self.limit}.")

    def add(
        self,
        job: Job,
        error: str | None = None,
        scores: Scores | None = None,
        level: float | None = None,
        lost: Sequence[str] = (),
    ) -> None:
        """Add a file that was done, with the noise level that the model was given, if any; or that failed with an error.

        `lost` names metadata that its output does not have.
        """
        due = len(self._shown) * max(self.total, 1) / self.limit  # position in the run of the next image to show
        self._seen += 1
        if error is not None:
            self._failed += 1
            self._errors += [error] if len(self._errors) < MAX_ERRORS else []
            return
        self._done += 1
        for name in lost:
            self._lost[name] = self._lost.get(name, 0) + 1
        if self._seen > due and len(self._shown) < self.limit:
            self._shown.append((job, scores, level))
        if scores is not None:
            self._compared += 1
            for name, value in vars(scores).items():
                self._sums[name] = self._sums.get(name, 0.0) + value
            fall = scores.noisy_psnr_db - scores.denoised_psnr_db
            if fall > FALL_DB:
                self._fallen += 1
                if self._worst is None or fall > self._worst[1]:
                    self._worst = os.fspath(job.source), fall

    def add_kept(self, job: Job, scores: Scores | None = None, level: float | None = None, lost: Sequence[str] = ()) -> None:
        """Add a file that an earlier run has done."""
        self._kept += 1
        self.add(job, None, scores, level, lost)

    def write(
        self,
        path: str | os.PathLike[str],
        *,
        device: str,
        seconds: float,
        models: Sequence[Contract] = (),
        title: str | None = None,
        overwrite: bool | Callable[[], bool] = True,
    ) -> None:
        """Write the page atomically.

        Args:
            path: The file; missing folders are created.
            device: Device of the model.
            seconds: Wall time of the run.
            models: All models used by this run, if not `model` alone.
            title: What has denoised the images, where `models` may not be all; None for their names.
            overwrite: Whether an existing file is replaced; a function is asked right before.

        Raises:
            InputError: The file cannot be written.
            OutputExistsError: It exists and `overwrite` is false.
        """
        images: list[ReportedImage] = []
        not_shown: list[str] = []
        noise = "" if title else self.model.noise
        for job, scores, level in sorted(self._shown, key=lambda shown: shown[0].source):
            try:
                side_px = crop_side(len(self._shown))
                images.append(report_image(job, scores, noise, side_px, level, self.read))
            except DaeError as error:
                not_shown.append(str(error))
            except Exception as error:  # an image that cannot be shown does not prevent the page
                not_shown.append(f"{os.fspath(job.source)}: {describe_error(error)}")
        summary = RunSummary(
            models=tuple(models) or (() if title else (self.model,)),
            device=device,
            seconds=seconds,
            done=self._done,
            failed=self._failed,
            compared=self._compared,
            mean_scores={name: total / self._compared for name, total in self._sums.items()},
            errors=tuple(self._errors),
            not_shown=tuple(not_shown),
            lost=dict(sorted(self._lost.items())),
            fallen=self._fallen,
            worst=self._worst,
            kept=self._kept,
            edited=self.edited,
            title=title,
        )
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            write_atomic(Path(path), page(summary, images).encode("utf-8", errors="replace"), overwrite=overwrite)
        except OSError as error:
            if isinstance(error, FileExistsError) and Path(path) == Path(error.filename):
                raise OutputExistsError(
                    f"{os.fspath(path)} was created during the run, and stays. Give another --report, or --overwrite."
                ) from error
            raise InputError(
                f"the report {os.fspath(path)} cannot be written: {error.strerror or error}. Give another file."
            ) from error
