"""The manifest of a run: a line of JSON when a file is begun and when it is done, so that a run can be resumed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import DaeError, InputError
from ..images import FORMATS
from ..inference import DEFAULT_CONTROLS, Controls
from .plan import Job, is_file_name

MANIFEST_NAME = "dae-manifest.jsonl"
"""Name of the manifest in the output folder, where the caller gives no other."""
BEGUN, DONE, FAILED = "begun", "done", "failed"
Stamp = tuple[int, int]
"""Size in bytes and time of the last change in ns: as long as they stay, a file counts as unchanged."""
_CONTROLS = dataclasses.fields(Controls)
_FIRST_BYTES = b'{"path": '
"""What a manifest begins with, unless a crash has cut its first line short: nothing is appended to any other file."""


@dataclass(frozen=True)
class Settings:
    """What decides, beside the input, what an output looks like: an output of other settings is not trusted."""

    model_sha256: str
    controls: Controls = DEFAULT_CONTROLS


@dataclass(frozen=True)
class Entry:
    """What became of one file; a line of the manifest."""

    path: str
    """Of the input, absolute."""
    output: str
    """Absolute."""
    status: str
    """`begun`, `done` or `failed`. Only `begun`: the run was killed, and the output may be there."""
    error: str | None
    """Why it failed."""
    seconds: float
    model_sha256: str
    strength: float
    source_bytes: int
    """Size of the input before it was read; with the next field it tells whether the input has changed since."""
    source_mtime_ns: int
    output_sha256: str | None
    """Of the output file; None if it failed."""
    sigma: float | None = None
    """As told; None: measured, or of no use to the model. This field and those below are missing in lines of before 0.9."""
    luma: float = 1.0
    color: float = 1.0
    detail: float = 0.0
    bits: int | None = None
    level: float | None = None
    """Noise level that the model was given, measured or told, where white is 1; None for models that are given none."""

    @property
    def settings(self) -> Settings:
        """What it was made with."""
        return Settings(self.model_sha256, Controls(**{field.name: getattr(self, field.name) for field in _CONTROLS}))


def manifest_path(output: str | os.PathLike[str], name: str | os.PathLike[str] | None = None) -> Path:
    """Return where the manifest of a run is: the file that is named, else MANIFEST_NAME in the output's folder.

    Raises:
        InputError: The name is that of an image, as those of a run are; a hot folder may have it later.
    """
    if name is None:
        return (Path(output).parent if is_file_name(output) else Path(output)) / MANIFEST_NAME
    path = Path(name)
    if path.suffix.lower() in FORMATS:
        raise InputError(f"--manifest {path} is named as an image. Give another name, such as {path.stem}.jsonl.")
    return path


class Manifest:
    """Appends to a manifest; may be used by many threads at once.

    Each line reaches the file in one write. A line that a crash cut short is ended first, and ignored by `read_manifest`.

    Args:
        path: The file; made if missing, its folder too.
        settings: Of this run.

    Raises:
        DaeError: It cannot be opened or written to.
    """

    def __init__(self, path: str | os.PathLike[str], settings: Settings) -> None:
        self.path, self.settings = Path(path), settings
        self._lock = threading.Lock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            size = os.fstat(self._file).st_size
            if size and not _FIRST_BYTES.startswith(os.pread(self._file, len(_FIRST_BYTES), 0)):
                os.close(self._file)
                raise DaeError(f"{self.path} exists and is no manifest: it stays as it is. Give the manifest another name.")
            if size and os.pread(self._file, 1, size - 1) != b"\n":
                os.write(self._file, b"\n")
        except OSError as error:
            raise DaeError(f"the manifest {self.path} cannot be written: {error.strerror or error}. Give another.") from error

    def begin(self, job: Job, source_stamp: Stamp) -> None:
        """Append that the output of a file is about to be written: should the run be killed, it is known to be the run's.

        Args:
            job: The file.
            source_stamp: What `file_stamp` gave for the input before it was read.

        Raises:
            DaeError: The disk is full, or the file is gone.
        """
        self._append(job, source_stamp, status=BEGUN, error=None, seconds=0.0, output_sha256=None)

    def record(
        self,
        job: Job,
        source_stamp: Stamp,
        error: str | None,
        seconds: float,
        output_sha256: str | None,
        level: float | None = None,
    ) -> None:
        """Append what became of one file.

        Args:
            job: The file.
            source_stamp: What `file_stamp` gave for the input before it was read.
            error: Why there is no output; None if there is one.
            seconds: What it took.
            output_sha256: Of the output; None if there is none.
            level: Noise level that the model was given.

        Raises:
            DaeError: The disk is full, or the file is gone.
        """
        self._append(
            job,
            source_stamp,
            status=DONE if error is None else FAILED,
            error=error,
            seconds=round(seconds, 6),
            output_sha256=output_sha256,
            level=None if level is None else round(level, 6),
        )

    def _append(self, job: Job, source_stamp: Stamp, **outcome: Any) -> None:
        entry = Entry(
            path=absolute(job.source),
            output=absolute(job.destination),
            model_sha256=self.settings.model_sha256,
            source_bytes=source_stamp[0],
            source_mtime_ns=source_stamp[1],
            **outcome,
            **dataclasses.asdict(self.settings.controls),
        )
        line = json.dumps(dataclasses.asdict(entry)).encode("ascii") + b"\n"
        with self._lock:
            try:
                written = os.write(self._file, line)
            except OSError as failure:
                raise DaeError(f"the manifest {self.path} cannot be written: {failure.strerror or failure}.") from failure
        if written < len(line):
            raise DaeError(f"the manifest {self.path} cannot be written: the disk is full.")

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def __enter__(self) -> Manifest:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def read_manifest(path: str | os.PathLike[str]) -> dict[str, Entry]:
    """Return the last entry of each input by its path; nothing if there is no such file.

    Lines that are cut short or damaged count as not written.

    Raises:
        InputError: The file is there and cannot be read.
    """
    entries: dict[str, Entry] = {}
    try:
        with Path(path).open("rb") as file:
            for line in file:
                entry = _read_entry(line)
                if entry is not None:
                    entries[entry.path] = entry
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InputError(f"the manifest {path} cannot be read: {error.strerror or error}.") from error
    return entries


def entry_of(job: Job, entries: Mapping[str, Entry]) -> Entry | None:
    """Return the last entry of a job's input, or None."""
    return entries.get(absolute(job.source))


def file_sha256(path: str | os.PathLike[str]) -> str | None:
    """Return a file's SHA-256 in hex, or None if it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def file_stamp(path: Path) -> Stamp:
    """Return the stamp of a file: size in bytes and time of the last change in ns; zeros if it is gone."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _read_entry(line: bytes) -> Entry | None:
    try:
        values: dict[str, Any] = json.loads(line)
        return Entry(**values)
    except (ValueError, TypeError):
        return None


def absolute(path: Path) -> str:
    """Return a path as the manifest has it."""
    return os.path.abspath(path)  # noqa: PTH100 - resolve() would follow links, and a link is a name of its own
