"""The journal of a run that keeps no manifest: should the run be cut off, `--resume` continues it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import DaeError
from ..system.atomic import TEMPORARY_PREFIX, write_atomic
from ..system.locks import lock
from ..system.paths import open_regular
from .manifest import BEGUN, Manifest, Settings, Stamp
from .plan import Job

JOURNAL_NAME = f"{TEMPORARY_PREFIX}journal.jsonl"
"""Name of the journal in the output folder."""

logger = logging.getLogger(__name__)


class Journal(Manifest):
    """The manifest of a run that was not asked for one, so that the run can be resumed if it is cut off.

    Created with the first output. What keeps it from being written ends the journal only, not the run.

    Args:
        path: The file.
        settings: Returns the settings of the run.
    """

    def __init__(self, path: Path, settings: Callable[[], Settings]) -> None:
        self._path, self._make_settings, self._opening = path, settings, threading.Lock()
        self._wanted, self._opened = True, False

    def _append(self, job: Job, source_stamp: Stamp, **outcome: Any) -> None:
        with self._opening:
            if not self._opened and (not self._wanted or outcome["status"] != BEGUN):
                return
        try:
            with self._opening:
                if not self._opened:
                    super().__init__(self._path, self._make_settings())
                    self._opened = True
            super()._append(job, source_stamp, **outcome)
        except DaeError as error:
            logger.debug("no journal of the run: %s", error)
            self._wanted = False

    def remove(self) -> None:
        """Delete the file, unless another run writes to it."""
        if self._opened:
            super().remove()

    def close(self) -> None:
        """Close the file, if it is open."""
        if self._opened:
            super().close()


def adopt_journal(journal: Path, manifest: Path) -> None:
    """Make the journal of a run that was cut off the manifest of the run that continues it.

    Raises:
        DaeError: The run still writes to it, or the manifest cannot be written.
    """
    try:
        with open_regular(journal) as file:
            if not lock(file.fileno(), alone=True):
                raise DaeError(f"the run to resume still writes to {journal.parent}. Wait for its end, or stop it.")
            manifest.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(manifest, file.readall(), overwrite=False)
            journal.unlink()
    except OSError as error:
        raise DaeError(f"the manifest {manifest} cannot be written: {error.strerror or error}. Give another.") from error
