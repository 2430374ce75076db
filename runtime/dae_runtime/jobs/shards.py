"""Shards: the share of a run's files that one of several independent processes does."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath

from ..errors import InputError
from .locations import prefix_of

MOST_SHARDS = 1_000_000
_TEXT = re.compile(r"([0-9]{1,7})/([0-9]{1,7})", re.ASCII)


@dataclass(frozen=True)
class Shard:
    """A share of the files of a run: number `index`, from 1, of `count`."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Return the shard that a text such as `3/16` names.

        Raises:
            InputError: It is no such text.
        """
        match = _TEXT.fullmatch(text)
        index, count = (0, 0) if match is None else (int(match[1]), int(match[2]))
        if not 1 <= index <= count <= MOST_SHARDS:
            raise InputError(f"a shard is I/N with I from 1 to N, such as 1/16 to 16/16, not {text!r}.")
        return cls(index, count)

    def owns(self, name: str | PurePath) -> bool:
        """Tell whether a file is of this shard.

        The SHA-256 of the relative name without its suffix, with / between folders, decides: its first 8 bytes, as a
        big-endian number, modulo `count`. It is the same on every machine, and inputs that could have one output are of one
        shard.

        Args:
            name: Relative to the input folder.
        """
        text = name.replace(os.sep, "/") if isinstance(name, str) else name.as_posix()
        folder, slash, file = text.rpartition("/")
        key = f"{folder}{slash}{file.rpartition('.')[0] or file}".encode("utf-8", "surrogateescape")
        return int.from_bytes(hashlib.sha256(key).digest()[:8], "big") % self.count == self.index - 1

    def part_of(self, base: Path) -> Callable[[str], bool]:
        """Return the function that tells by the path of a file within `base` whether it is of this shard."""
        prefix = prefix_of(base)
        return lambda path: self.owns(path.removeprefix(prefix))

    @property
    def label(self) -> str:
        """Its number as a part of file names: `3-of-16`."""
        return f"{self.index}-of-{self.count}"

    def report(self, report: str) -> str:
        """Return the path of this shard's report: `report.html` becomes `report.3-of-16.html`."""
        stem, suffix = os.path.splitext(report)  # noqa: PTH122 - text stays as it was given
        return f"{stem}.{self.label}{suffix}"

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"
