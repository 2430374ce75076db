"""Folder runs: read, denoise and write many image files, one result per file, whatever happens to one of them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .arrays import Array
from .batches import windows
from .denoiser import Denoiser
from .errors import DaeError, ImageError, MissingDependencyError
from .images import Image, read_image, write_image
from .plan import Job
from .quality import Scores, score


@dataclass(frozen=True)
class FileResult:
    """What became of one file."""

    job: Job
    error: str | None
    """Why there is no output; None if there is one."""
    seconds: float
    """Time for reading, denoising (its share of the batch), writing and comparing."""
    scores: Scores | None = None
    """Likeness to the reference, if it could be compared with one."""
    reference_error: str | None = None
    """Why it could not be compared, where references were asked for."""


@dataclass
class _Work:
    """A file on its way through the run."""

    job: Job
    seconds: float = 0.0
    image: Image | None = None
    clean: Array | None = None
    error: str | None = None


def run_jobs(
    denoiser: Denoiser,
    jobs: Iterable[Job],
    *,
    batch_size: int | None = None,
    overwrite: bool = False,
    with_references: bool = False,
) -> Iterator[FileResult]:
    """Denoise files in order, a bounded number at a time.

    Args:
        denoiser: What to denoise with.
        jobs: From `plan`.
        batch_size: Files that are held at once; those of one size run as one batch. None: up to 256, fewer if
            they are large.
        overwrite: Replace outputs that exist.
        with_references: Compare with each job's reference; a job without one gets a `reference_error`.

    Yields:
        One result per job, in order. A file that cannot be read, denoised or written has an `error`; the run goes on. Each
        output is whole or not there, and missing folders are made.

    Raises:
        MissingDependencyError: The engine or the image library is not installed.
    """
    for window in windows(map(_load, jobs), _values, batch_size):
        _denoise(denoiser, window)
        for work in window:
            yield _finish(work, overwrite, with_references)


def _values(work: _Work) -> int:
    return 0 if work.image is None else int(work.image.pixels.size)


def _load(job: Job) -> _Work:
    work, start = _Work(job), time.perf_counter()
    try:
        work.image = read_image(job.source)
    except ImageError as error:
        work.error = str(error)
    except MemoryError:
        work.error = f"{os.fspath(job.source)}: does not fit into memory."
    work.seconds = time.perf_counter() - start
    return work


def _denoise(denoiser: Denoiser, window: list[_Work]) -> None:
    good = [work for work in window if work.image is not None]
    if not good:
        return
    start = time.perf_counter()
    try:
        for work, clean in zip(good, denoiser.stream(_pixels(good), len(good)), strict=True):
            work.clean = clean
    except (DaeError, MemoryError):
        for work in good:  # find out which of them it was, and save the others
            _denoise_one(denoiser, work)
    share = (time.perf_counter() - start) / len(good)
    for work in good:
        work.seconds += share


def _pixels(window: list[_Work]) -> Iterator[Array]:
    return (work.image.pixels for work in window if work.image is not None)


def _denoise_one(denoiser: Denoiser, work: _Work) -> None:
    try:
        work.clean = denoiser.denoise(next(_pixels([work])))
    except DaeError as error:
        work.error = f"{os.fspath(work.job.source)}: {error}"
    except MemoryError:
        work.error = f"{os.fspath(work.job.source)}: does not fit into memory."


def _finish(work: _Work, overwrite: bool, with_references: bool) -> FileResult:
    start = time.perf_counter()
    job, scores, reference_error = work.job, None, None
    if work.image is not None and work.clean is not None:
        try:
            job.destination.parent.mkdir(parents=True, exist_ok=True)
            write_image(job.destination, work.image.with_pixels(work.clean), overwrite=overwrite)
        except ImageError as error:
            work.error = str(error)
        except OSError as error:
            work.error = f"{os.fspath(job.destination.parent)}: the folder cannot be made: {error.strerror or error}."
        if with_references and work.error is None:
            scores, reference_error = _compare(job, work.image.pixels, work.clean)
    return FileResult(job, work.error, work.seconds + time.perf_counter() - start, scores, reference_error)


def _compare(job: Job, noisy: Array, denoised: Array) -> tuple[Scores | None, str | None]:
    if job.reference is None:
        return None, f"{os.fspath(job.source)}: there is no reference of this name."
    try:
        return score(read_image(job.reference).pixels, noisy, denoised), None
    except MissingDependencyError:
        raise
    except DaeError as error:
        return None, f"{os.fspath(job.source)}: cannot be compared: {error}"
