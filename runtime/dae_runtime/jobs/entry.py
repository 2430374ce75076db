"""A line of a manifest: the state of one file, and the settings that its output was made with."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..inference import DEFAULT_CONTROLS, Controls
from ..system.bounds import first_misfit
from .table import Table

BEGUN, DONE, FAILED = "begun", "done", "failed"
_CONTROLS = dataclasses.fields(Controls)


@dataclass(frozen=True)
class Settings:
    """Settings that determine an output besides its input; outputs of other settings are not trusted."""

    model_sha256: str
    controls: Controls = DEFAULT_CONTROLS
    value_range: tuple[float, float] | None = None
    """Values of black and white of float and signed TIFFs."""
    quality: int | None = None
    """Of JPEG, AVIF and lossy WebP outputs; None: of its own for each file."""


@dataclass(frozen=True, slots=True)
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
    quality: int | None = None
    """As told, for JPEG, AVIF and lossy WebP."""
    output_mark: int | None = None
    """Of an object: a number made of its ETag as written, by which a later run knows it without reading it."""
    ensemble: int = 1
    """Missing in lines of before it could be chosen."""

    @property
    def settings(self) -> Settings:
        """The settings of the entry."""
        controls = Controls(**{field.name: getattr(self, field.name) for field in _CONTROLS})
        value_range = None if self.value_range is None else (self.value_range[0], self.value_range[1])
        return Settings(self.model_sha256, controls, value_range, self.quality)


_FIELDS = [field.name for field in dataclasses.fields(Entry)]


def read_entry(line: bytes) -> Entry | None:
    """Return the entry of a line; None for a damaged one."""
    try:
        values = json.loads(line)
        entry = Entry(**values)
        _ = entry.settings  # checks the controls
    except (ValueError, TypeError, AttributeError, LookupError, OverflowError, RecursionError):
        return None
    return None if first_misfit(entry) else entry


class Entries(Mapping[str, Entry]):
    """The last entry of each output, by its path; there may be very many.

    Args:
        entries: As a manifest has them.
    """

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._table = Table((entry.output, [getattr(entry, name) for name in _FIELDS]) for entry in entries)

    def update(self, later: Entries) -> None:
        """Replace entries by later ones."""
        self._table.update(later._table.items())

    def __getitem__(self, output: str) -> Entry:
        if (values := self._table.get(output)) is None:
            raise KeyError(output)
        return Entry(*values)

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)
