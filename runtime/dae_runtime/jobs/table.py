"""Mappings and names that may be very many: what takes more than some MiB lies in a temporary file."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import threading
import weakref
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ..errors import DaeError
from ..images import path_order

if TYPE_CHECKING:
    import sqlite3

_FEW = 1000
"""Most entries of a table that needs no database."""
_CACHE_KIB = 8192
"""Most of a database that is held in memory; SQLite puts the rest into a file that is gone when the process ends, however."""
_ROWS = 256
"""Entries that are read or written at once."""


class Table:
    """A mapping from text to values as JSON has them, so that lists may come for tuples; sorted by key. Thread-safe.

    Args:
        pairs: Keys and values to begin with.

    Raises:
        DaeError: The temporary file cannot be written or read; all methods may raise it.
    """

    def __init__(self, pairs: Iterable[tuple[str, Any]] = ()) -> None:
        self._lock = threading.RLock()
        self._few: dict[str, Any] = {}
        self._database: sqlite3.Connection | None = None
        self.update(pairs)

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, or the default."""
        with self._lock:
            if self._database is None:
                return self._few.get(key, default)
            rows = self._run("SELECT value FROM pairs WHERE key = ?", _encoded(key))
        return json.loads(rows[0][0]) if rows else default

    def setdefault(self, key: str, default: Any) -> Any:
        """Return the value of a key, which becomes the default if there is none."""
        with self._lock:
            found = self.get(key, self)
            if found is self:
                self[key] = found = default
            return found

    def update(self, pairs: Iterable[tuple[str, Any]]) -> None:
        """Set the values of many keys."""
        rest = iter(pairs)
        while block := list(itertools.islice(rest, _ROWS)):
            with self._lock:
                if self._database is None:
                    self._few.update(block)
                    if len(self._few) <= _FEW:
                        continue
                    block, self._few = [*self._few.items()], {}
                    self._open()
                self._write([(_encoded(key), json.dumps(value)) for key, value in block])

    def clear(self, prefix: str = "") -> None:
        """Delete all keys that begin with a prefix."""
        with self._lock:
            if self._database is None:
                self._few = {key: value for key, value in self._few.items() if not key.startswith(prefix)}
            else:
                start = _encoded(prefix)
                self._run(
                    "DELETE FROM pairs WHERE key >= ? AND key < ?", start, start + b"\xff"
                )  # no byte of text is as great

    def items(self) -> Iterator[tuple[str, Any]]:
        """Yield keys and values."""
        start = ""
        while block := self._block(start):
            yield from block
            start = block[-1][0] + "\0"

    def __iter__(self) -> Iterator[str]:
        return (key for key, _ in self.items())

    def __setitem__(self, key: str, value: Any) -> None:
        self.update([(key, value)])

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.get(key, self) is not self

    def __len__(self) -> int:
        with self._lock:
            return len(self._few) if self._database is None else int(self._run("SELECT count(*) FROM pairs")[0][0])

    def _block(self, start: str) -> list[tuple[str, Any]]:
        """Return the first entries whose keys do not come before a text."""
        with self._lock:
            if self._database is None:
                return sorted((pair for pair in self._few.items() if pair[0] >= start), key=lambda pair: pair[0])
            rows = self._run(f"SELECT key, value FROM pairs WHERE key >= ? ORDER BY key LIMIT {_ROWS}", _encoded(start))
        return [(key.decode("utf-8", "surrogatepass"), json.loads(value)) for key, value in rows]

    def _open(self) -> None:
        import sqlite3

        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        weakref.finalize(self, self._database.close)
        for statement in (
            f"PRAGMA cache_size = -{_CACHE_KIB}",
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            "CREATE TABLE pairs (key BLOB PRIMARY KEY, value TEXT) WITHOUT ROWID",
            "BEGIN",  # never ended: nothing has to be safe on the disk
        ):
            self._run(statement)

    def _run(self, statement: str, *values: object) -> list[Any]:
        assert self._database is not None  # the callers look
        with _errors():
            return self._database.execute(statement, values).fetchall()

    def _write(self, rows: list[tuple[bytes, str]]) -> None:
        assert self._database is not None
        with _errors():
            self._database.executemany("INSERT OR REPLACE INTO pairs VALUES (?, ?)", rows)


class Names(Collection[str]):
    """Names of files, each once, in the order of paths."""

    def __init__(self, names: Iterable[str]) -> None:
        self._table = Table((path_order(name), None) for name in names)
        self._count = len(self._table)

    def __iter__(self) -> Iterator[str]:
        return (key.replace("\0", os.sep) for key in self._table)

    def __len__(self) -> int:
        return self._count

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and path_order(name) in self._table


def distinct(texts: Iterable[str]) -> Iterator[str]:
    """Yield each text where it comes first, of very many that mostly come in groups."""
    seen, last = Table(), None
    for text in texts:
        if text != last and text not in seen:
            seen[text] = None
            yield text
        last = text


def _encoded(text: str) -> bytes:
    """Return text as bytes of the same order; text of file names may hold surrogates."""
    return text.encode("utf-8", "surrogatepass")


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    import sqlite3

    try:
        yield
    except sqlite3.Error as error:
        raise DaeError(
            f"a temporary file of this run cannot be written: {error}. Free space in the folder for temporary files, or set "
            "SQLITE_TMPDIR to another."
        ) from error
