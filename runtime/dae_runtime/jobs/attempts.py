"""Chunks of a run on a cluster: owned by the driver, sent again when their worker is lost, split when they seem to be why."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from .plan import Job

MOST_DEATHS = 3
"""Workers that a chunk may lose; then it is split, or its only file has failed."""


@dataclass
class Item:
    """A file of the run."""

    job: Job
    begun: bool = False
    """Whether the manifest has it as begun: then its output is this run's, and may be replaced by another attempt."""


@dataclass
class Chunk:
    """Files that one worker does together."""

    items: list[Item]
    deaths: int = 0
    """Workers that were lost with it."""
    alone: bool = False
    """Whether its worker is to do nothing else meanwhile: then it is known what a worker was lost with."""

    def lost(self) -> list[Chunk]:
        """Return what is to be done after a worker was lost with the chunk: again by itself, or in parts; none to give up."""
        self.deaths, self.alone = self.deaths + 1, True
        if self.deaths < MOST_DEATHS:
            return [self]
        return [Chunk([item], alone=True) for item in self.items] if len(self.items) > 1 else []


@dataclass
class Chunks:
    """The chunks that wait: those that came back before those of the plan, which are taken as they are needed."""

    planned: Iterator[list[Job]]
    _waiting: deque[Chunk] = field(default_factory=deque)
    _ended: bool = False

    def more(self, count: int) -> int:
        """Return how many chunks wait, at most `count`; takes them from the plan."""
        while len(self._waiting) < count and not self._ended:
            jobs = next(self.planned, None)
            if jobs is None:
                self._ended = True
            else:
                self._waiting.append(Chunk([Item(job) for job in jobs]))
        return min(count, len(self._waiting))

    def take(self, idle: bool) -> Chunk | None:
        """Return the next chunk for a worker; None if there is none, or it must be alone and the worker is not idle."""
        if not self.more(1) or (self._waiting[0].alone and not idle):
            return None
        return self._waiting.popleft()

    def put_back(self, chunks: list[Chunk]) -> None:
        """Put chunks before the others."""
        self._waiting.extendleft(reversed(chunks))
