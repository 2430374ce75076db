"""Folder runs: read, denoise and write many image files, one result per file, whatever happens to one of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator

from ..images import MAX_PIXELS
from ..inference import ENGINE_SHARE, Denoiser
from ..system.processor import available_cpus
from ..system.threads import Gate, ordered_map
from .manifest import Manifest
from .plan import Job
from .worker import FileResult, Worker

MOST_SLOTS = 8
"""Images that the CPU works on at once at most: more gains little, and each takes the engine's memory for one image."""
_CHUNK_FILES = 32
_CHUNK_BYTES = 2**18


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
    overwrite: bool | Callable[[Job], bool] = False,
    fail_fast: bool = False,
    with_references: bool = False,
    strength: float = 1.0,
    max_pixels: int = MAX_PIXELS,
    max_memory_mb: int | None = None,
    manifest: Manifest | None = None,
    cancel: Callable[[], bool] | None = None,
    progress: Callable[[int], None] | None = None,
    step: Callable[[], None] | None = None,
) -> Generator[FileResult, None, None]:
    """Denoise files, several at a time, and report them in order.

    Reading, denoising and writing of different files overlap. As many images are denoised at once as the CPUs allow for the
    threads that the denoiser was opened with (see `threads_for`). Memory does not depend on the number of files.

    Args:
        denoiser: What to denoise with.
        jobs: From `plan`.
        batch_size: Files that are held at once by a thread; those of one size run as one batch. None: up to 32, fewer if they
            are large.
        overwrite: Replace outputs that exist; or what tells for a job whether to, asked right before its output is written.
        fail_fast: Begin no other file once one has failed.
        with_references: Compare with each job's reference; a job without one gets a `reference_error`.
        strength: How much of the change is taken, 0 to 1.
        max_pixels: Larger images fail.
        max_memory_mb: What the run should stay within, in MiB; give the denoiser the same. Images then wait for each other,
            and one is denoised at a time.
        manifest: Gets a line for each file as soon as it is done.
        cancel: Asked between files; true ends the run: what was begun is finished or dropped, never left half written.
        progress: Called with the number of results so far, before each is yielded.
        step: Called before each run of the engine, that is before each tile of a large image, by whichever thread it is.

    Yields:
        One result per job, in order. A file that cannot be read, denoised or written has an `error`; the run goes on. Each
        output is whole or not there, and missing folders are made.

    Raises:
        MissingDependencyError: The engine or the image library is not installed.
        DaeError: The manifest cannot be written.
    """
    slots = 1 if denoiser.device != "cpu" or max_memory_mb is not None else max(1, available_cpus() // denoiser.threads)
    limit = None if max_memory_mb is None else int((1 - ENGINE_SHARE) * max_memory_mb * 2**20)
    worker = Worker(
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
        step,
    )
    chunks = _until_cancelled(_chunks(jobs, batch_size), cancel, worker.stop)
    done = 0
    # One thread more than can be denoising: it reads and writes meanwhile, and fills the gaps while others wait for the disk.
    for results in ordered_map(chunks, worker.process, slots + 1, worker.stop):
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
