"""The manifest of a run into a store: immutable objects with some lines each, since nothing is appended to an object."""

from __future__ import annotations

import itertools
import secrets
import threading
import time
from collections.abc import Container, Iterable, Iterator
from typing import cast

from ..errors import ImageError, InputError
from .bucket import Bucket
from .entry import BEGUN, Entries, Settings
from .locations import ObjectPath
from .manifest import Manifest, ManifestError, wanted_entries
from .plan import Job
from .shards import Shard
from .storage import Stamp

LINES = 256
"""Most lines of a part: so many finished files, at most, are done again after a kill."""
LONGEST_WAIT_S = 10.0
"""Most seconds from the end of a file to its line, while other files end."""


class PartManifest(Manifest):
    """Writes the manifest of a run in parts. The outputs of a part are recorded as begun before the first of them is.

    Args:
        path: Folder of the parts.
        settings: Of this run.
    """

    def __init__(self, path: ObjectPath, settings: Settings) -> None:
        self.path, self.settings, self.done = path, settings, 0
        self._bucket, self._number = Bucket(*path.store), itertools.count(1)
        self._lines: list[bytes] = []
        self._run = f"{time.time_ns():020}-{secrets.token_hex(4)}"
        self._lock, self._written_s = threading.Lock(), time.monotonic()

    def announced(self, jobs: Iterable[Job]) -> Iterator[Job]:
        """Yield jobs, each after its line `begun` is written.

        Raises:
            ManifestError: A part cannot be written. `record` and `close` raise it, too.
        """
        rest = iter(jobs)
        while block := list(itertools.islice(rest, LINES)):
            outcome = {"status": BEGUN, "error": None, "seconds": 0.0, "output_sha256": None}
            self._put([self._line(job, (0, 0), **outcome) for job in block])
            yield from block

    def begin(self, job: Job, source_stamp: Stamp, output_sha256: str | None = None) -> None:
        """Do nothing: `announced` has written it."""

    def _write(self, line: bytes) -> None:
        with self._lock:
            self._lines.append(line)
            due = len(self._lines) >= LINES or time.monotonic() - self._written_s > LONGEST_WAIT_S
            lines, self._lines = (self._lines, []) if due else ([], self._lines)
        self._put(lines)

    def _put(self, lines: list[bytes]) -> None:
        if not lines:
            return
        self._written_s = time.monotonic()
        key = f"{cast('ObjectPath', self.path).key}/{self._run}-{next(self._number):06}.jsonl"
        try:
            self._bucket.put(key, b"".join(lines))
        except ImageError as error:
            raise ManifestError(f"the manifest cannot be written: {error}") from error

    def close(self) -> None:
        """Write the last part."""
        with self._lock:
            lines, self._lines = self._lines, []
        self._put(lines)


def read_parts(folder: ObjectPath, outputs: Container[str] | None = None) -> Entries:
    """Return the last entry of each output, as `read_manifest` does, of the parts in a folder.

    Raises:
        ImageError: They cannot be read.
    """
    bucket = Bucket(*folder.store)
    keys = sorted(found.key for found in bucket.walk(folder.key))  # as they were written: the names begin with the time
    lines = (line for key in keys for line in bucket.get(key).splitlines(keepends=True))
    return Entries(wanted_entries(lines, outputs))


def has_parts(folder: ObjectPath) -> bool:
    """Tell whether there are parts in a folder.

    Raises:
        ImageError: It cannot be listed.
    """
    return any(True for _ in Bucket(*folder.store).walk(folder.key))


def join_parts(folder: ObjectPath) -> int:
    """Move the parts of shards to those of the whole run, and return the number of shards.

    Raises:
        ImageError: A part cannot be moved; those before it are.
    """
    bucket, shards = Bucket(*folder.store), list(parts_of_shards(folder))
    for prefix, _ in shards:
        for found in list(bucket.walk(prefix)):
            bucket.move(found.key, f"{folder.key}/{found.key.rpartition('/')[2]}")
    return len(shards)


def parts_of_shards(folder: ObjectPath) -> Iterator[tuple[str, Shard]]:
    """Yield prefix and shard of the folders of parts beside that of the whole run.

    Raises:
        ImageError: They cannot be listed.
    """
    for prefix in Bucket(*folder.store).level(folder.parent.key)[0]:
        index, of, count = prefix.rstrip("/").rpartition("/")[2].partition("-of-")
        try:
            yield prefix.rstrip("/"), Shard.parse(f"{index}/{count}" if of else "")
        except InputError:
            continue
