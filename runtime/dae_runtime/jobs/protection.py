"""The files that no output of a run may replace, whatever their names: inputs, references, and other outputs."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path

from ..errors import ImageError
from ..system.paths import Identity, identities_of, identity_of, is_same
from .plan import Job


class Protection:
    """Knows the files of a run by device and inode; thread-safe.

    Args:
        jobs: The jobs of the run.
    """

    def __init__(self, jobs: Iterable[Job] = ()) -> None:
        self._lock = threading.Lock()
        self._kept: set[Identity] = set()
        self._written: dict[Identity, Job] = {}
        self.keep(path for job in jobs for path in (job.source, job.reference) if path is not None)

    def keep(self, paths: Iterable[Path]) -> None:
        """Protect the files of these paths, in place of those before."""
        self._kept = identities_of(paths)

    def note(self, job: Job, identity: Identity | None) -> None:
        """Note the file that a job is about to have as its output."""
        if identity is not None:
            with self._lock:
                self._written[identity] = job

    def check(self, job: Job) -> None:
        """Check that an existing file may be replaced by the output of a job.

        Raises:
            ImageError: It is an input, a reference, or another output of the run, under another name.
        """
        destination = job.destination
        identity = identity_of(destination)
        if identity is None:
            return
        with self._lock:
            other = self._written.get(identity, job).destination
        if identity in self._kept:
            raise ImageError("is also an input or a reference, under another name; these are never changed")
        if other != destination and is_same(other, destination):
            raise ImageError(f"is also the output {other}, as on a disk that folds case; it stays")
