"""The manifest that a folder run keeps unasked, so that the same command continues it."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

from .entry import BEGUN, Settings
from .manifest import Manifest, Stamp
from .plan import Job


class Journal(Manifest):
    """A manifest that is made with the first output: a run without outputs leaves no file and no folder.

    Failures before that are not recorded; the same command tries those files again in any case.

    Args:
        path: The file; opened, and so locked, at once if it exists.
        settings: Of this run.
        planned_bytes: As for `Manifest`.

    Raises:
        ManifestError: As for `Manifest`; also while the run lasts.
    """

    def __init__(self, path: Path, settings: Settings, planned_bytes: int | None) -> None:
        self.path, self.settings, self.done = path, settings, 0
        self._planned_bytes, self._opening, self._opened = planned_bytes, threading.Lock(), False
        if os.path.lexists(path):
            self._open()

    def _open(self) -> None:
        super().__init__(self.path, self.settings, alone=True, planned_bytes=self._planned_bytes)
        self._opened = True

    def _append(self, job: Job, source_stamp: Stamp, **outcome: Any) -> None:
        with self._opening:
            if not self._opened:
                if outcome["status"] != BEGUN:
                    return
                self._open()
        super()._append(job, source_stamp, **outcome)

    def close(self) -> None:
        """Close the file, if it is open."""
        if self._opened:
            super().close()
