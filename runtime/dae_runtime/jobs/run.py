"""Read, denoise and write many image files in parallel, with one result per file."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

from ..inference import ENGINE_SHARE, Denoiser
from ..system.processor import available_cpus
from ..system.threads import Gate, ordered_map
from .manifest import Manifest
from .places import storage_of
from .plan import Job
from .protection import Protection
from .results import FileResult, JobOptions
from .worker import Worker

MAX_SLOTS = 8
"""Most images denoised at once on the CPU: more gains little, and each needs the engine's memory for one image."""
_CHUNK_FILES = 32
_CHUNK_BYTES = 2**18


def threads_for(files: int) -> int | None:
    """Return the CPU threads of a Denoiser for a run over `files` files; None for the default.

    Several images at once on few threads each use a CPU better than one image at a time on all threads.
    """
    cpus = available_cpus()
    return max(1, cpus // min(cpus, files, MAX_SLOTS)) if files > 1 else None


def run_jobs(
    denoiser: Denoiser,
    jobs: Iterable[Job],
    options: JobOptions = JobOptions(),  # noqa: B008 - frozen
    *,
    may_replace: Callable[[Job], bool] | None = None,
    manifest: Manifest | None = None,
    cancel: Callable[[], bool] | None = None,
    step: Callable[[], None] | None = None,
    finished: Callable[[FileResult], None] | None = None,
    protection: Protection | None = None,
    transfers: int = 1,
) -> Generator[FileResult, None, None]:
    """Denoise files in parallel and yield their results in order.

    Reading, denoising and writing of different files overlap. As many images are denoised at once as the CPUs allow for the
    threads of the denoiser (see `threads_for`). Memory does not depend on the number of files.

    Args:
        denoiser: The open denoiser.
        jobs: From `plan`.
        options: How to denoise them.
        may_replace: Called right before an existing file would be replaced by an output; true allows it. None: never.
        manifest: Gets a line per file as soon as it is done.
        cancel: Called before each file and each run of the engine (each tile of a large image), by any thread; true ends
            the run: started files are finished or dropped, never left half written.
        step: Called before each run of the engine, by any thread.
        finished: Called after each file, by any thread and in any order: before its result comes, where files run in groups.
        protection: The files that stay whatever `may_replace` says; None for the inputs and references of `jobs`, if that is
            a list.
        transfers: How many files are read and written while others are denoised: more where each takes long, as in a store.

    Yields:
        One result per job, in order. A file that cannot be read, denoised or written has an `error`; the run continues.
        Outputs are written atomically; missing folders are created.

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
        protection=protection or Protection(jobs if isinstance(jobs, Sequence) else ()),
        manifest=manifest,
        cancel=cancel,
        step=step,
        finished=finished,
    )
    chunks = itertools.takewhile(lambda chunk: not worker.is_stopped(), group_jobs(jobs, options.batch_size))
    for results in ordered_map(chunks, worker.process, slots + transfers, worker.stop):
        yield from results


def group_jobs(jobs: Iterable[Job], batch_size: int | None) -> Iterator[list[Job]]:
    """Group jobs per thread: many small files, or one large file."""
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
    return storage_of(job.source).size(job.source)
