"""The progress bar of `dae-run`: files with the name of the last one, and parts of large images when the files are few."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from ..system.messages import counted, printable

if TYPE_CHECKING:
    from ..jobs.results import FileResult

FEW_FILES = 20
"""With more files than this, per-file progress is frequent enough."""
REDRAW_S = 0.2
"""Minimum seconds between two redraws."""


class Progress:
    """A progress bar on standard error, if that is a terminal.

    Args:
        files: Number of files.
        quiet: Show nothing.
    """

    def __init__(self, files: int, quiet: bool) -> None:
        self._files, self._shown = files, not quiet and sys.stderr.isatty()
        self._lock = threading.Lock()
        self._bar: Any = None
        self._parts, self._drawn_s, self._name = 0, 0.0, ""

    def step(self) -> None:
        """Count a run of the engine; thread-safe."""
        if self._shown and self._files <= FEW_FILES:
            self._count_part()

    def finish(self, result: FileResult) -> None:
        """Count a file, at once: results come in groups of small files, and in order; thread-safe."""
        if self._shown:
            with self._lock:
                self._name = result.job.source.name
                if self._bar is not None:
                    self._bar.update(1)

    def show(self, results: Iterable[FileResult]) -> Iterator[FileResult]:
        """Yield the results, with the bar drawn meanwhile."""
        if not self._shown:
            yield from results
            return
        with click.progressbar(
            length=self._files, label="denoising", show_pos=True, item_show_func=self._words, file=sys.stderr
        ) as self._bar:
            yield from results

    def _count_part(self) -> None:
        with self._lock:
            self._parts += 1
            now = time.monotonic()
            if self._bar is not None and now - self._drawn_s > REDRAW_S:
                self._drawn_s = now
                self._bar.render_progress()

    def _words(self, item: object) -> str | None:
        if self._bar is None or self._bar.finished:
            return None
        parts = counted(self._parts, "part") if self._parts > self._bar.pos + 1 else ""
        return ", ".join(filter(None, (printable(self._name), parts))) or None
