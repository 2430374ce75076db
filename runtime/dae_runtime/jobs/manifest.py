"""The manifest of a run: one JSON line when a file starts and one when it ends, for resuming."""

from __future__ import annotations

import dataclasses
import errno
import io
import json
import os
import threading
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import DaeError, InputError
from ..images import FORMATS
from ..system.locks import lock
from ..system.paths import check_reachable, open_regular
from .entry import BEGUN, DONE, FAILED, Entries, Entry, Settings, read_entry
from .locations import ObjectPath, is_url
from .plan import Job, is_file_name
from .storage import Stamp

MANIFEST_NAME = "dae-manifest.jsonl"
"""Default name of the manifest in the output folder."""
LONGEST_LINE = 2**20
"""Bytes; paths are far shorter, and a damaged file may be one line."""
_FIRST_BYTES = b'{"path": '
"""Start of every manifest, unless a crash cut its first line short; other files are never appended to."""


class ManifestError(DaeError):
    """The manifest cannot be written, which ends a run."""


def manifest_path(output: str | os.PathLike[str], name: str | os.PathLike[str] | None = None) -> Path:
    """Return the path of a run's manifest: the given file, else MANIFEST_NAME in the output folder.

    Raises:
        InputError: The name is empty, or has an image suffix, and so could become an output.
        ImageError: It cannot be reached.
    """
    if name is None:
        return (Path(output).parent if is_file_name(output) else Path(output)) / MANIFEST_NAME
    check_reachable(name, "the manifest")
    path = Path(name)
    if path.suffix.lower() in FORMATS:
        raise InputError(f"--manifest {path} has an image suffix. Give another name, such as {path.stem}.jsonl.")
    return path


def in_use(path: str | os.PathLike[str]) -> ManifestError:
    """Return the error about a manifest that another run writes to."""
    return ManifestError(f"another run is writing to {os.fspath(path)}. Wait for its end, or give another output or manifest.")


class Manifest:
    """Appends to a manifest; thread-safe.

    Each line is one write. A line that a crash cut short is terminated first; `read_manifest` ignores it.

    Args:
        path: The file; created if missing, with its folder.
        settings: Of this run.
        alone: Whether no other run may write to it meanwhile.
        planned_bytes: Its size when the run was planned by its content; None if it was not.
        check: Called with the file open and locked; may raise.

    Raises:
        ManifestError: It cannot be opened or written to, another run writes to it, or has done so since the plan.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        settings: Settings,
        alone: bool = False,
        planned_bytes: int | None = None,
        check: Callable[[], None] | None = None,
    ) -> None:
        self.path, self.settings = Path(path), settings
        self.done = 0
        """Files recorded as done."""
        self._lock = threading.Lock()
        self._file = open_locked(self.path, alone, planned_bytes, check)

    def announced(self, jobs: Iterable[Job]) -> Iterable[Job]:
        """Return the jobs of the run; where an output cannot be recorded as begun by itself, each after it was."""
        return jobs

    def begin(self, job: Job, source_stamp: Stamp, output_sha256: str | None = None) -> None:
        """Record that an output is about to get its name, so that it is known as the run's if the run is killed.

        Args:
            job: The file.
            source_stamp: `file_stamp` of the input before it was read.
            output_sha256: Of the output.

        Raises:
            ManifestError: The disk is full, or the file is gone.
        """
        self._append(job, source_stamp, status=BEGUN, error=None, seconds=0.0, output_sha256=output_sha256)

    def record(
        self,
        job: Job,
        source_stamp: Stamp,
        error: str | None,
        seconds: float,
        output_sha256: str | None,
        level: float | None = None,
        lost: Sequence[str] = (),
        output_stamp: Stamp | None = None,
    ) -> None:
        """Record the result of one file.

        Args:
            job: The file.
            source_stamp: `file_stamp` of the input before it was read.
            error: Reason of the failure; None for success.
            seconds: Processing time.
            output_sha256: Of the output; None if there is none.
            level: Noise level that the model was given.
            lost: Metadata of the input that the output does not have.
            output_stamp: Of the output; recorded for objects.

        Raises:
            ManifestError: The disk is full, or the file is gone.
        """
        self.done += error is None
        self._append(
            job,
            source_stamp,
            status=DONE if error is None else FAILED,
            error=error,
            seconds=round(seconds, 6),
            output_sha256=output_sha256,
            level=None if level is None else round(level, 6),
            lost=lost,
            output_mark=output_stamp[1] if output_stamp is not None and is_url(job.destination) else None,
        )

    def _append(self, job: Job, source_stamp: Stamp, **outcome: Any) -> None:
        self._write(self._line(job, source_stamp, **outcome))

    def _line(self, job: Job, source_stamp: Stamp, **outcome: Any) -> bytes:
        entry = Entry(
            path=absolute(job.source),
            output=absolute(job.destination),
            model_sha256=self.settings.model_sha256,
            source_bytes=source_stamp[0],
            source_mtime_ns=source_stamp[1],
            **outcome,
            value_range=self.settings.value_range,
            quality=self.settings.quality,
            **dataclasses.asdict(self.settings.controls),
        )
        values = dataclasses.asdict(entry)
        if entry.output_mark is None:
            del values["output_mark"]
        return json.dumps(values).encode("ascii") + b"\n"

    def _write(self, line: bytes) -> None:
        with self._lock:
            try:
                if os.write(self._file, line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError as failure:
                raise ManifestError(f"the manifest {self.path} cannot be written: {failure.strerror or failure}.") from failure

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def __enter__(self) -> Manifest:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def append_lines(path: Path, lines: Iterable[bytes]) -> None:
    """Append whole lines to a manifest, and return when they are on the disk.

    Raises:
        ManifestError: As for `Manifest`.
    """
    with os.fdopen(open_locked(path), "ab") as file:
        try:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        except OSError as error:
            raise ManifestError(f"the manifest {path} cannot be written: {error.strerror or error}.") from error


def open_locked(
    path: Path, alone: bool = True, planned_bytes: int | None = None, check: Callable[[], None] | None = None
) -> int:
    """Open a manifest to read and append, and lock it; arguments and errors as for `Manifest`.

    Returns:
        The file's descriptor, at the start of the file.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            _check(path, file, alone, planned_bytes)
            if check is not None:
                _ask(check, path, file)
        except BaseException:
            os.close(file)
            raise
    except OSError as error:
        text = f"the manifest {path} cannot be written: {error.strerror or error}. Give another with --manifest."
        raise ManifestError(text) from error
    return file


def _ask(check: Callable[[], None], path: Path, file: int) -> None:
    """Call a check; where it raises, leave no empty file behind."""
    try:
        check()
    except DaeError:
        if os.fstat(file).st_size == 0:
            path.unlink(missing_ok=True)
        raise


def _check(path: Path, file: int, alone: bool, planned_bytes: int | None) -> None:
    if not lock(file, alone):
        raise in_use(path)
    size = os.fstat(file).st_size
    if size and not _FIRST_BYTES.startswith(os.pread(file, len(_FIRST_BYTES), 0)):
        raise ManifestError(
            f"{path} exists and is not a manifest; it stays unchanged. Give the manifest another name (--manifest)."
        )
    if planned_bytes not in (None, size):
        raise ManifestError(f"another run has written to {path} after this one was planned. Start this one again.")
    if size and os.pread(file, 1, size - 1) != b"\n":
        os.write(file, b"\n")
        os.lseek(file, 0, os.SEEK_SET)


def read_manifest(path: str | os.PathLike[str], alone: bool | None = None, outputs: Container[str] | None = None) -> Entries:
    """Return the last entry of each output by its path; empty if the file does not exist.

    Truncated or damaged lines are ignored.

    Args:
        path: The file.
        alone: None to read it whatever other runs do. Else refuse one that another run writes to: true, in any way; false,
            for itself alone.
        outputs: Those that are wanted, by their paths as the manifest has them; None for all.

    Raises:
        InputError: The file exists but cannot be read.
        ManifestError: Another run writes to it.
    """
    try:
        with io.BufferedReader(open_regular(path)) as file:
            if alone is not None and not lock(file.fileno(), alone):
                raise in_use(path)
            return Entries(wanted_entries(iter(lambda: file.readline(LONGEST_LINE), b""), outputs))
    except FileNotFoundError:
        return Entries()
    except OSError as error:
        raise InputError(f"the manifest {path} cannot be read: {error.strerror or error}.") from error


def wanted_entries(lines: Iterable[bytes], outputs: Container[str] | None) -> Iterator[Entry]:
    """Yield the entries of the lines that are not damaged, of the outputs that are wanted."""
    entries = (entry for line in lines if (entry := read_entry(line)) is not None)
    return (entry for entry in entries if outputs is None or entry.output in outputs)


def entry_of(job: Job, entries: Mapping[str, Entry]) -> Entry | None:
    """Return the last entry of a job's output, or None if that was made from another input."""
    entry = entries.get(absolute(job.destination))
    return None if entry is None or entry.path != absolute(job.source) else entry


def absolute(path: Path) -> str:
    """Return a path as the manifest has it."""
    if isinstance(path, ObjectPath):
        return str(path)
    return os.path.abspath(path)  # noqa: PTH100 - resolve() would follow links
