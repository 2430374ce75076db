"""The progress bar of `dae-run`: files, and parts of large images when the files are few."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from ..system.messages import counted

if TYPE_CHECKING:
    from ..jobs.worker import FileResult

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
        self._parts, self._drawn_s = 0, 0.0

    def step(self) -> None:
        """Count a run of the engine; thread-safe."""
        if self._shown and self._files <= FEW_FILES:
            self._count_part()

    def show(self, results: Iterable[FileResult]) -> Iterator[FileResult]:
        """Yield the results, and draw the bar after each."""
        if not self._shown:
            yield from results
            return
        with click.progressbar(
            length=self._files, label="denoising", show_pos=True, item_show_func=self._words, file=sys.stderr
        ) as self._bar:
            for result in results:
                yield result
                with self._lock:
                    self._bar.update(1)

    def _count_part(self) -> None:
        with self._lock:
            self._parts += 1
            now = time.monotonic()
            if self._bar is not None and now - self._drawn_s > REDRAW_S:
                self._drawn_s = now
                self._bar.render_progress()

    def _words(self, item: object) -> str | None:
        return None if self._parts < 2 or self._bar is None or self._bar.finished else counted(self._parts, "part")
