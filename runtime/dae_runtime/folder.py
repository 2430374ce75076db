"""Folder runs: read, denoise and write many image files, one result per file, whatever happens to one of them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field

from .arrays import Array
from .batches import by_shape, windows
from .codec import MAX_PIXELS
from .denoiser import Denoiser
from .errors import CancelledError, DaeError, ImageError, MissingDependencyError
from .images import Image, read_image, write_image
from .manifest import Manifest, file_sha256
from .memory import ENGINE_SHARE
from .pipeline import Gate, ordered_map
from .plan import Job
from .processor import available_cpus
from .quality import Scores, score

MOST_SLOTS = 8
"""Images that the CPU works on at once at most: more gains little, and each takes the engine's memory for one image."""
_CHUNK_FILES = 32
_CHUNK_BYTES = 2**18


@dataclass(frozen=True)
class FileResult:
    """What became of one file."""

    job: Job
    error: str | None
    """Why there is no output; None if there is one."""
    seconds: float
    """Time for reading, denoising (its share of the batch), writing and comparing, waiting included."""
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

    @property
    def values(self) -> int:
        return 0 if self.image is None else int(self.image.pixels.size)

    def fail(self, error: Exception) -> None:
        """Note why there will be no output, and let go of the image."""
        name = os.fspath(self.job.source)
        self.error = f"{name}: does not fit into memory." if isinstance(error, MemoryError) else f"{name}: {error}"
        self.image = self.clean = None


def threads_for(files: int) -> int | None:
    """Return the CPU threads to open a Denoiser with for a run over so many files; None for the default.

    Several images at once, each on few threads, keep a CPU busier than one image after the other on all.
    """
    cpus = available_cpus()
    return max(1, cpus // min(cpus, files, MOST_SLOTS)) if files > 1 else None


def run_jobs(
    denoiser: Denoiser,
    jobs: Iterable[Job],
    *,
    batch_size: int | None = None,
    overwrite: bool = False,
    fail_fast: bool = False,
    with_references: bool = False,
    strength: float = 1.0,
    max_pixels: int = MAX_PIXELS,
    max_memory_mb: int | None = None,
    manifest: Manifest | None = None,
    cancel: Callable[[], bool] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Generator[FileResult, None, None]:
    """Denoise files, several at a time, and report them in order.

    Reading, denoising and writing of different files overlap. As many images are denoised at once as the CPUs allow for the
    threads that the denoiser was opened with (see `threads_for`). Memory does not depend on the number of files.

    Args:
        denoiser: What to denoise with.
        jobs: From `plan`.
        batch_size: Files that are held at once by a thread; those of one size run as one batch. None: up to 32, fewer if they
            are large.
        overwrite: Replace outputs that exist.
        fail_fast: Begin no other file once one has failed.
        with_references: Compare with each job's reference; a job without one gets a `reference_error`.
        strength: How much of the change is taken, 0 to 1.
        max_pixels: Larger images fail.
        max_memory_mb: What the run should stay within, in MiB; give the denoiser the same. Images then wait for each other,
            and one is denoised at a time.
        manifest: Gets a line for each file as soon as it is done.
        cancel: Asked between files; true ends the run: what was begun is finished or dropped, never left half written.
        progress: Called with the number of results so far, before each is yielded.

    Yields:
        One result per job, in order. A file that cannot be read, denoised or written has an `error`; the run goes on. Each
        output is whole or not there, and missing folders are made.

    Raises:
        MissingDependencyError: The engine or the image library is not installed.
        DaeError: The manifest cannot be written.
    """
    slots = 1 if denoiser.device != "cpu" or max_memory_mb is not None else max(1, available_cpus() // denoiser.threads)
    limit = None if max_memory_mb is None else int((1 - ENGINE_SHARE) * max_memory_mb * 2**20)
    run = _Run(
        denoiser,
        threading.Semaphore(slots),
        Gate(limit),
        batch_size,
        overwrite,
        fail_fast,
        with_references,
        strength,
        max_pixels,
        manifest,
    )
    chunks = _until_cancelled(_chunks(jobs, batch_size), cancel, run.stop)
    done = 0
    # One thread more than can be denoising: it reads and writes meanwhile, and fills the gaps while others wait for the disk.
    for results in ordered_map(chunks, run.process, slots + 1, run.stop):
        for result in results:
            done += 1
            if progress is not None:
                progress(done)
            yield result


def _chunks(jobs: Iterable[Job], batch_size: int | None) -> Iterator[list[Job]]:
    """Cut the jobs into what one thread gets at once: many small files, or one that is not small."""
    chunk: list[Job] = []
    size = 0
    for job in jobs:
        chunk.append(job)
        size += _file_bytes(job)
        if len(chunk) >= (batch_size or _CHUNK_FILES) or (batch_size is None and size >= _CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _file_bytes(job: Job) -> int:
    try:
        return job.source.stat().st_size
    except OSError:
        return 0


def _until_cancelled(
    chunks: Iterable[list[Job]], cancel: Callable[[], bool] | None, stop: threading.Event
) -> Iterator[list[Job]]:
    for chunk in chunks:
        if cancel is not None and cancel():
            stop.set()
            return
        yield chunk


@dataclass
class _Run:
    """What the threads of one run share."""

    denoiser: Denoiser
    slots: threading.Semaphore
    """Bounds how many images are denoised at once."""
    gate: Gate
    """Bounds the bytes of the images that are held at once."""
    batch_size: int | None
    overwrite: bool
    fail_fast: bool
    with_references: bool
    strength: float
    max_pixels: int
    manifest: Manifest | None
    stop: threading.Event = field(default_factory=threading.Event)

    def process(self, jobs: list[Job]) -> list[FileResult]:
        """Read, denoise and write a few files. Those that a stop overtakes have no result."""
        results: list[FileResult] = []
        try:
            for window in windows(map(self._load, jobs), lambda work: work.values, self.batch_size):
                self._denoise(window)
                for work in window:
                    results.append(self._finish(work))
                    if self.fail_fast and work.error is not None:
                        self.stop.set()
                self.gate.leave()
        except CancelledError:
            pass
        finally:
            self.gate.leave()
        return results

    def _load(self, job: Job) -> _Work:
        self._check_stop()
        work, start = _Work(job), time.perf_counter()
        try:
            # An image is there twice: as it was read, and denoised.
            work.image = read_image(job.source, self.max_pixels, lambda size: self.gate.enter(2 * size, self.stop))
        except ImageError as error:
            work.error = str(error)
        except MemoryError as error:
            work.fail(error)
        work.seconds = time.perf_counter() - start
        return work

    def _denoise(self, window: list[_Work]) -> None:
        good = [work for work in window if work.image is not None]
        if not good:
            return
        start = time.perf_counter()
        with self.slots:
            try:
                for work, clean in zip(good, self._denoise_all([_pixels(work) for work in good]), strict=True):
                    work.clean = clean
            except CancelledError:
                raise
            except (DaeError, MemoryError):
                for work in good:  # find out which of them it was, and save the others
                    self._denoise_one(work)
        share = (time.perf_counter() - start) / len(good)
        for work in good:
            work.seconds += share

    def _denoise_all(self, images: list[Array]) -> list[Array]:
        if len(images) > 1 and all(image.ndim < 4 for image in images):
            return list(by_shape(images, self._call))
        return [self._call(image) for image in images]

    def _denoise_one(self, work: _Work) -> None:
        try:
            work.clean = self._call(_pixels(work))
        except CancelledError:
            raise
        except (DaeError, MemoryError) as error:
            work.fail(error)

    def _call(self, image: Array) -> Array:
        return self.denoiser.denoise(image, strength=self.strength, cancel=self.stop.is_set)

    def _finish(self, work: _Work) -> FileResult:
        self._check_stop()
        start = time.perf_counter()
        job, scores, reference_error = work.job, None, None
        if work.image is not None and work.clean is not None:
            self._write(work, work.image.with_pixels(work.clean))
            if self.with_references and work.error is None:
                scores, reference_error = _compare(job, work.image, work.clean)
        work.image = work.clean = None
        seconds = work.seconds + time.perf_counter() - start
        if self.manifest is not None:
            digest = None if work.error else file_sha256(job.destination)
            self.manifest.record(job, work.error, seconds, digest)
        return FileResult(job, work.error, seconds, scores, reference_error)

    def _write(self, work: _Work, image: Image) -> None:
        try:
            work.job.destination.parent.mkdir(parents=True, exist_ok=True)
            write_image(work.job.destination, image, overwrite=self.overwrite)
        except ImageError as error:
            work.error = str(error)
        except OSError as error:
            folder = os.fspath(work.job.destination.parent)
            work.error = f"{folder}: the folder cannot be made: {error.strerror or error}."

    def _check_stop(self) -> None:
        if self.stop.is_set():
            raise CancelledError("the run was stopped.")


def _pixels(work: _Work) -> Array:
    assert work.image is not None  # only such are denoised
    return work.image.page_pixels


def _compare(job: Job, image: Image, clean: Array) -> tuple[Scores | None, str | None]:
    if job.reference is None:
        return None, f"{os.fspath(job.source)}: there is no reference of this name."
    try:
        reference = read_image(job.reference)
        return score(reference.pixels, image.pixels, image.with_pixels(clean).pixels), None
    except MissingDependencyError:
        raise
    except DaeError as error:
        return None, f"{os.fspath(job.source)}: cannot be compared: {error}"
