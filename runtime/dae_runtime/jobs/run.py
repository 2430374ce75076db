"""Folder runs: read, denoise and write many image files, one result per file, whatever happens to one of them."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Generator, Iterable, Iterator

from ..inference import ENGINE_SHARE, Denoiser
from ..system.processor import available_cpus
from ..system.threads import Gate, ordered_map
from .manifest import Manifest
from .plan import Job
from .worker import FileResult, JobOptions, Worker

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
    options: JobOptions = JobOptions(),  # noqa: B008 - frozen
    *,
    may_replace: Callable[[Job], bool] | None = None,
    manifest: Manifest | None = None,
    cancel: Callable[[], bool] | None = None,
    step: Callable[[], None] | None = None,
) -> Generator[FileResult, None, None]:
    """Denoise files, several at a time, and report them in order.

    Reading, denoising and writing of different files overlap. As many images are denoised at once as the CPUs allow for the
    threads that the denoiser was opened with (see `threads_for`). Memory does not depend on the number of files.

    Args:
        denoiser: What to denoise with.
        jobs: From `plan`.
        options: How.
        may_replace: Asked right before an output is written, whether it may replace a file that is there; None: it
            may not.
        manifest: Gets a line for each file as soon as it is done.
        cancel: Asked before each file and before each run of the engine, that is before each tile of a large image, by
            whichever thread it is; true ends the run: what was begun is finished or dropped, never left half written.
        step: Called before each run of the engine, likewise.

    Yields:
        One result per job, in order. A file that cannot be read, denoised or written has an `error`; the run goes on. Each
        output is whole or not there, and missing folders are made.

    Raises:
        MissingDependencyError: The engine or the image library is not installed.
        DaeError: The manifest cannot be written.
    """
    memory_mb = options.max_memory_mb
    slots = 1 if denoiser.device != "cpu" or memory_mb is not None else max(1, available_cpus() // denoiser.threads)
    limit = None if memory_mb is None else int((1 - ENGINE_SHARE) * memory_mb * 2**20)
    worker = Worker(
        denoiser,
        options,
        slots=threading.Semaphore(slots),
        gate=Gate(limit),
        may_replace=may_replace,
        manifest=manifest,
        cancel=cancel,
        step=step,
    )
    chunks = itertools.takewhile(lambda chunk: not worker.is_stopped(), _chunks(jobs, options.batch_size))
    # One thread more than can be denoising: it reads and writes meanwhile, and fills the gaps while others wait for the disk.
    for results in ordered_map(chunks, worker.process, slots + 1, worker.stop):
        yield from results


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
