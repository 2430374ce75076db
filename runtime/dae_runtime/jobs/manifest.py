"""The manifest of a run: one JSON line when a file starts and one when it ends, for resuming."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import DaeError, InputError
from ..images import FORMATS
from ..inference import DEFAULT_CONTROLS, Controls
from ..system.bounds import first_misfit
from ..system.locks import lock
from ..system.paths import check_reachable, is_same, open_regular
from .plan import Job, is_file_name

MANIFEST_NAME = "dae-manifest.jsonl"
"""Default name of the manifest in the output folder."""
BEGUN, DONE, FAILED = "begun", "done", "failed"
Stamp = tuple[int, int]
"""Size in bytes and modification time in ns; a file with the same stamp counts as unchanged."""
_CONTROLS = dataclasses.fields(Controls)
_LONGEST_LINE = 2**20
"""Bytes; paths are far shorter, and a damaged file may be one line."""
_FIRST_BYTES = b'{"path": '
"""Start of every manifest, unless a crash cut its first line short; other files are never appended to."""


class ManifestError(DaeError):
    """The manifest cannot be written, which ends a run."""


@dataclass(frozen=True)
class Settings:
    """Settings that determine an output besides its input; outputs of other settings are not trusted."""

    model_sha256: str
    controls: Controls = DEFAULT_CONTROLS
    value_range: tuple[float, float] | None = None
    """Values of black and white of float and signed TIFFs."""


@dataclass(frozen=True)
class Entry:
    """A line of the manifest: the state of one file."""

    path: str
    """Of the input, absolute."""
    output: str
    """Absolute."""
    status: str
    """`begun`, `done` or `failed`. `begun` as last entry: the run was killed, and the output may have got its name."""
    error: str | None
    """Reason of the failure."""
    seconds: float
    model_sha256: str
    strength: float
    source_bytes: int
    """Size of the input before it was read; with the next field it detects later changes."""
    source_mtime_ns: int
    output_sha256: str | None
    """Of the output file; None if it failed. Lines `begun` of older versions have none."""
    sigma: float | None = None
    """As told; None: measured, or of no use to the model. This field and those below are missing in lines of before 0.9."""
    luma: float = 1.0
    color: float = 1.0
    detail: float = 0.0
    bits: int | None = None
    level: float | None = None
    """Noise level that the model was given, measured or told, where white is 1; None for models that are given none."""
    lost: Sequence[str] = ()
    """Metadata of the input that the output does not have, such as `thumbnail`."""
    value_range: Sequence[float] | None = None
    """As told, for float and signed TIFFs."""

    @property
    def settings(self) -> Settings:
        """The settings of the entry."""
        controls = Controls(**{field.name: getattr(self, field.name) for field in _CONTROLS})
        value_range = None if self.value_range is None else (self.value_range[0], self.value_range[1])
        return Settings(self.model_sha256, controls, value_range)


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


class Manifest:
    """Appends to a manifest; thread-safe.

    Each line is one write. A line that a crash cut short is terminated first; `read_manifest` ignores it.

    Args:
        path: The file; created if missing, with its folder.
        settings: Of this run.
        alone: Whether no other run may write to it meanwhile, as for a run that was planned by its content.

    Raises:
        DaeError: It cannot be opened or written to, or another run does.
    """

    def __init__(self, path: str | os.PathLike[str], settings: Settings, alone: bool = False) -> None:
        self.path, self.settings = Path(path), settings
        self._lock = threading.Lock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            if not lock(self._file, alone):
                os.close(self._file)
                raise DaeError(f"another run is writing to {self.path}. Wait for its end, or give another manifest.")
            self.bytes_before = size = os.fstat(self._file).st_size
            if size and not _FIRST_BYTES.startswith(os.pread(self._file, len(_FIRST_BYTES), 0)):
                os.close(self._file)
                raise DaeError(
                    f"{self.path} exists and is not a manifest; it stays unchanged. Give the manifest another name."
                )
            if size and os.pread(self._file, 1, size - 1) != b"\n":
                os.write(self._file, b"\n")
        except OSError as error:
            raise DaeError(f"the manifest {self.path} cannot be written: {error.strerror or error}. Give another.") from error

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

        Raises:
            ManifestError: The disk is full, or the file is gone.
        """
        self._append(
            job,
            source_stamp,
            status=DONE if error is None else FAILED,
            error=error,
            seconds=round(seconds, 6),
            output_sha256=output_sha256,
            level=None if level is None else round(level, 6),
            lost=lost,
        )

    def _append(self, job: Job, source_stamp: Stamp, **outcome: Any) -> None:
        entry = Entry(
            path=absolute(job.source),
            output=absolute(job.destination),
            model_sha256=self.settings.model_sha256,
            source_bytes=source_stamp[0],
            source_mtime_ns=source_stamp[1],
            **outcome,
            value_range=self.settings.value_range,
            **dataclasses.asdict(self.settings.controls),
        )
        line = json.dumps(dataclasses.asdict(entry)).encode("ascii") + b"\n"
        with self._lock:
            try:
                written = os.write(self._file, line)
            except OSError as failure:
                raise ManifestError(f"the manifest {self.path} cannot be written: {failure.strerror or failure}.") from failure
        if written < len(line):
            raise ManifestError(f"the manifest {self.path} cannot be written: the disk is full.")

    def remove(self) -> None:
        """Delete the file, unless another run writes to it."""
        with contextlib.suppress(OSError):
            if lock(self._file, alone=True) and is_same(self.path, f"/dev/fd/{self._file}"):
                self.path.unlink()

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def __enter__(self) -> Manifest:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def read_manifest(path: str | os.PathLike[str]) -> dict[str, Entry]:
    """Return the last entry of each input by its path; empty if the file does not exist.

    Truncated or damaged lines are ignored.

    Raises:
        InputError: The file exists but cannot be read.
    """
    entries: dict[str, Entry] = {}
    try:
        with io.BufferedReader(open_regular(path)) as file:
            while line := file.readline(_LONGEST_LINE):
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
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def file_stamp(path: Path) -> Stamp:
    """Return the stamp of a file; zeros if it is gone."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _read_entry(line: bytes) -> Entry | None:
    try:
        entry = Entry(**json.loads(line))
        _ = entry.settings  # checks the controls
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError):
        return None
    return None if first_misfit(entry) else entry


def absolute(path: Path) -> str:
    """Return a path as the manifest has it."""
    return os.path.abspath(path)  # noqa: PTH100 - resolve() would follow links
