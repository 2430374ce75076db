"""The manifest that a folder run keeps unasked, so that the same command continues it."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .entry import BEGUN, Settings
from .manifest import Manifest, ManifestError
from .plan import Job
from .storage import Stamp

logger = logging.getLogger(__name__)


class Journal(Manifest):
    """A manifest that is made with the first output: a run without outputs leaves no file and no folder.

    Failures before that are not recorded; the same command tries those files again in any case. Where it can no longer be
    written, as on a full disk, it ends with a warning, and the run goes on.

    Args:
        path: The file; opened, and so locked, at once if it exists.
        settings: Of this run.
        planned_bytes: As for `Manifest`.
        check: As for `Manifest`.

    Raises:
        ManifestError: As for `Manifest`; also while the run lasts.
    """

    def __init__(
        self, path: Path, settings: Settings, planned_bytes: int | None, check: Callable[[], None] | None = None
    ) -> None:
        self.path, self.settings, self.done = path, settings, 0
        self._check, self._planned_bytes, self._opening = check, planned_bytes, threading.Lock()
        self._opened, self._ended = False, False
        if os.path.lexists(path):
            self._open()

    def _open(self) -> None:
        super().__init__(self.path, self.settings, True, self._planned_bytes, self._check)
        self._opened = True

    def _append(self, job: Job, source_stamp: Stamp, **outcome: Any) -> None:
        try:
            with self._opening:
                if self._ended or (not self._opened and outcome["status"] != BEGUN):
                    return
                if not self._opened:
                    self._open()
            super()._append(job, source_stamp, **outcome)
        except ManifestError as error:
            if not isinstance(error.__cause__, OSError):  # another run's, or no manifest
                raise
            with self._opening:
                if not self._ended:
                    logger.warning("%s The run goes on, but the same command will not know what is done from here on.", error)
                self._ended = True

    def close(self) -> None:
        """Close the file, if it is open."""
        if self._opened:
            super().close()
