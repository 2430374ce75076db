"""A worker of a cluster: a process that denoises what the driver sends it, with a model that came along."""

from __future__ import annotations

import logging
import os
import platform
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DaeError, ImageError
from ..images import disable_cache
from ..inference import PortableDenoiser
from ..system.threads import Gate
from .entry import BEGUN
from .manifest import Manifest
from .places import storage_of
from .plan import Job
from .protection import Protection
from .results import FileResult, JobOptions
from .storage import Stamp
from .worker import Worker


@dataclass(frozen=True)
class Settings:
    """All that a worker is told before its first file. Picklable."""

    denoiser: PortableDenoiser
    options: JobOptions
    folder: str | None
    """Working folder that relative paths are relative to; None where all are absolute."""
    places: tuple[str, ...]
    """Paths that must be there."""
    output: Path
    """The folder of the outputs."""


@dataclass(frozen=True)
class Task:
    """A file for a worker."""

    job: Job
    source_stamp: Stamp
    """As far as the driver knows it; else zeros."""
    may_replace: bool
    """Whether what is at the output may be replaced."""
    refusal: str | None = None
    """Why what is there must stay."""


@dataclass(frozen=True)
class Row:
    """What came of a file, and what the manifest is to know of it."""

    result: FileResult
    source_stamp: Stamp
    output_sha256: str | None


@dataclass(frozen=True)
class Answer:
    """What came of some files."""

    rows: Sequence[Row]
    device: str
    models: Sequence[Any]
    """The contracts of those that have denoised an image in this worker."""
    words: Sequence[tuple[int, str]]
    """Level and text of what was logged since the last answer."""


class RemoteWorker:
    """Denoises files in a process of a cluster. All methods may be called at the same time, after `open`."""

    def open(self, settings: Settings) -> None:
        """Open the model.

        Raises:
            DaeError: This machine lacks something; the text names the machine.
        """
        self._log = _Log()
        logging.getLogger("dae_runtime").addHandler(self._log)
        try:
            self._open(settings)
        except DaeError as error:
            raise type(error)(f"on {platform.node()}: {error}") from None

    def _open(self, settings: Settings) -> None:
        for place in (settings.folder, *settings.places):
            if place is not None and not Path(place).exists():
                raise DaeError(f"there is no {place}. Give folders that all machines of the cluster share.")
            if place is not None and place == settings.folder:
                os.chdir(place)
        disable_cache()
        storage_of(settings.output).prepare(settings.output)
        self._denoiser = settings.denoiser.open()
        self._rows, self._tasks = _Rows(), dict[Job, Task]()
        self._worker = Worker(
            self._denoiser,
            settings.options,
            slots=threading.Semaphore(1),
            gate=Gate(None),
            may_replace=self._may_replace,
            protection=Protection(),
            manifest=self._rows,
            cancel=None,
            step=None,
            finished=None,
        )

    def process(self, tasks: list[Task]) -> Answer:
        """Denoise files; those not reached before a stop are missing in the answer."""
        for task in tasks:
            self._tasks[task.job] = task
            storage_of(task.job.source).remember(task.job.source, task.source_stamp)
        results = self._worker.process([task.job for task in tasks])
        rows = [Row(result, *self._rows.take(result.job)) for result in results]
        for task in tasks:
            del self._tasks[task.job]
        return Answer(rows, self._denoiser.device, self._denoiser.models_used, self._log.take())

    def stop(self) -> None:
        """Start no further file; a call of `process` that lasts returns soon."""
        self._worker.stop.set()

    def answers(self) -> None:
        """Do nothing: a process that is stuck does not return from it."""

    def _may_replace(self, job: Job) -> bool:
        task = self._tasks[job]
        if task.refusal is not None:
            raise ImageError(task.refusal)
        return task.may_replace


class _Rows(Manifest):
    """Keeps what a manifest would get; the driver writes it."""

    def __init__(self) -> None:
        self.done, self._kept = 0, dict[Job, tuple[Stamp, str | None]]()

    def _append(self, job: Job, source_stamp: Stamp, **outcome: Any) -> None:
        if outcome["status"] != BEGUN:  # the driver has written that before
            self._kept[job] = source_stamp, outcome["output_sha256"]

    def take(self, job: Job) -> tuple[Stamp, str | None]:
        """Return and forget the stamp of the input and the SHA-256 of the output of a job."""
        return self._kept.pop(job)


class _Log(logging.Handler):
    """Keeps warnings, each once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._words: list[tuple[int, str]] = []
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        if (text := record.getMessage()) not in self._said:
            self._said.add(text)
            self._words.append((record.levelno, text))

    def take(self) -> list[tuple[int, str]]:
        words, self._words = self._words, []
        return words
