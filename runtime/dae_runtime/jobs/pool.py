"""The executor of a folder run on a Ray cluster, in place of `run_jobs`."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any

from ..errors import DaeError
from ..inference import Denoiser, PortableDenoiser
from ..system.atomic import temporary_file
from ..system.paths import is_folder
from .attempts import Chunks
from .cluster import Cluster, connected
from .dispatch import Dispatch
from .ledger import Ledger
from .locations import is_url
from .manifest import Manifest
from .plan import Job
from .protection import Protection
from .remote import Answer, Settings
from .results import FileResult, JobOptions
from .run import group_jobs

logger = logging.getLogger(__name__)


class Pool:
    """Runs the jobs of one folder run on a cluster.

    Args:
        cluster: The cluster.
        denoiser: The open denoiser, whose models the workers get.
        source: IN.
        output: The folder of the outputs.
    """

    def __init__(self, cluster: Cluster, denoiser: Denoiser, source: Path, output: Path) -> None:
        self._cluster, self._denoiser, self._source, self._output = cluster, denoiser, source, output
        self._device: str | None = None
        self._models: dict[str, Any] = {}
        self._said: set[str] = set()

    @property
    def device(self) -> str:
        """Where the models run: the device of the worker that answered last."""
        return self._device or self._denoiser.device

    @property
    def model(self) -> Any:
        """The contract of a model that has denoised an image; else the denoiser's."""
        return next(reversed(self._models.values()), self._denoiser.model)

    @property
    def models_used(self) -> tuple[Any, ...]:
        """The contracts of the models that have denoised an image."""
        return tuple(self._models.values())

    def run_jobs(
        self,
        jobs: Iterable[Job],
        options: JobOptions,
        *,
        may_replace: Callable[[Job], bool],
        manifest: Manifest | None,
        cancel: Callable[[], bool],
        finished: Callable[[FileResult], None] | None,
        protection: Protection,
        transfers: int,
    ) -> Generator[FileResult, None, None]:
        """Denoise files and yield their results as they come; arguments and errors as for `run_jobs` of one process.

        Raises:
            DaeError: The cluster cannot be reached, or has had no worker for the time that it was given. The same command
                continues.
        """
        chunks = Chunks(group_jobs(jobs, options.batch_size))
        if not chunks.more(1):
            return
        ledger = Ledger(may_replace, manifest, finished, protection)
        with contextlib.ExitStack() as stack:
            settings = self._settings(options, stack)
            ray = stack.enter_context(connected(self._cluster))
            try:
                dispatch = Dispatch(ray, self._cluster, chunks, settings, 1 + transfers, ledger, cancel, self._note)
                stack.callback(dispatch.end)
                yield from dispatch.results()
            except ray.exceptions.RayError as error:
                raise DaeError(f"the Ray cluster has failed: {error}. The same command continues from here.") from error

    def _settings(self, options: JobOptions, stack: contextlib.ExitStack) -> Settings:
        """Return what workers are told. A file in the output folder, until the end, shows them that it is this one."""
        places = []
        if not is_url(self._source) and is_folder(self._source):
            places.append(os.fspath(self._source))
        if not is_url(self._output):
            made = not self._output.exists()
            self._output.mkdir(parents=True, exist_ok=True)
            if made:
                stack.callback(_remove_empty, self._output)
            places.append(os.fspath(stack.enter_context(temporary_file(self._output))))
        relative = any(not is_url(path) and not path.is_absolute() for path in (self._source, self._output))
        cluster = self._cluster
        return Settings(
            PortableDenoiser.of(self._denoiser, cluster.device, cluster.threads, cluster.tile_px),
            options,
            str(Path.cwd()) if relative else None,
            tuple(places),
            self._output,
        )

    def _note(self, answer: Answer) -> None:
        """Take over what an answer says besides its files."""
        self._device = answer.device
        self._models |= {model.name: model for model in answer.models}
        for level, text in answer.words:
            if text not in self._said:
                self._said.add(text)
                logger.log(level, "%s", text)


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()
