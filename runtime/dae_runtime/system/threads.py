"""Work done by several threads, handed out and taken back in order, a bounded amount of it at a time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 4
"""Pieces of work per thread that may be finished or under way before the oldest one is taken, if the caller does not say."""


def ordered_map(
    items: Iterable[T], work: Callable[[T], R], threads: int, stop: threading.Event, ahead: int | None = None
) -> Iterator[R]:
    """Yield `work(item)` for each item, in order, computed by several threads.

    Args:
        items: Taken only as far ahead as the threads need, by the caller's thread.
        work: Called by the threads. What it raises is raised here, at its place.
        threads: How many.
        stop: Set when the caller stops taking results, is interrupted, or `work` raises: `work` should then return soon. All
            threads have ended when this generator has.
        ahead: Items that are taken before the first result is yielded, at most.
    """
    pending: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="dae")
    try:
        for item in items:
            if stop.is_set():
                break
            pending.append(pool.submit(work, item))
            if len(pending) >= (ahead or AHEAD * threads):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


class Gate:
    """Bounds what several threads hold together.

    Whoever holds nothing yet waits until there is room; whoever holds something already is let through, so that two can never
    wait for each other. What is larger than the limit is let through alone.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._held: dict[int, int] = {}
        self._changed = threading.Condition()

    def enter(self, amount: int, stop: threading.Event) -> None:
        """Wait for room for `amount`, and hold it for this thread; return at once when `stop` is set."""
        thread = threading.get_ident()
        with self._changed:
            while self._held and thread not in self._held and self._full(amount) and not stop.is_set():
                self._changed.wait(timeout=0.5)
            self._held[thread] = self._held.get(thread, 0) + amount

    def leave(self) -> None:
        """Give back all that this thread holds."""
        with self._changed:
            self._held.pop(threading.get_ident(), None)
            self._changed.notify_all()

    def _full(self, amount: int) -> bool:
        return self._limit is not None and sum(self._held.values()) + amount > self._limit
