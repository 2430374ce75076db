"""The files that no output of a run may replace, whatever their names: inputs, references, and other outputs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ..errors import ImageError
from ..system.paths import Identity, identity_of, is_same
from .plan import Job
from .table import Table


class Protection:
    """Knows the files of a run by device and inode; thread-safe.

    Args:
        jobs: The jobs of the run.
    """

    def __init__(self, jobs: Iterable[Job] = ()) -> None:
        self._kept, self._written = Table(), Table()
        self.keep(path for job in jobs for path in (job.names[0], job.names[2]) if path is not None)

    def keep(self, paths: Iterable[str | os.PathLike[str]]) -> None:
        """Protect the files of these paths, in place of those before."""
        self._kept.clear()
        self._kept.update((str(identity), None) for path in paths if (identity := identity_of(path)) is not None)

    def note(self, job: Job, identity: Identity | None) -> None:
        """Note the file that a job is about to have as its output."""
        if identity is not None:
            self._written[str(identity)] = os.fspath(job.destination)

    def check(self, job: Job) -> None:
        """Check that an existing file may be replaced by the output of a job.

        Raises:
            ImageError: It is an input, a reference, or another output of the run, under another name.
        """
        destination = job.destination
        identity = identity_of(destination)
        if identity is None:
            return
        other = Path(self._written.get(str(identity), destination))
        if str(identity) in self._kept:
            raise ImageError("is also an input or a reference, under another name; these are never changed")
        if other != destination and is_same(other, destination):
            raise ImageError(f"is also the output {other}, as on a disk that folds case; it stays")
