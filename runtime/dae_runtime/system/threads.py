"""Ordered parallel work with bounded memory."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 4
"""Default number of items per thread that may be pending before the oldest result is yielded."""


def ordered_map(
    items: Iterable[T], work: Callable[[T], R], threads: int, stop: threading.Event, ahead: int | None = None
) -> Iterator[R]:
    """Yield `work(item)` for each item in order, computed by several threads.

    Args:
        items: Taken only as far ahead as the threads need, by the caller's thread.
        work: Called by the threads; its exceptions are raised in order.
        threads: Number of threads.
        stop: Set when the caller stops, is interrupted, or `work` raises: `work` should then return soon. All threads end
            before this generator does.
        ahead: Most items taken before the first result is yielded.
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
    """Limits the total amount that several threads hold.

    A thread that holds nothing waits for room; a thread that holds something may always take more, so deadlocks cannot occur.
    An amount above the limit is admitted alone.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._held: dict[int, int] = {}
        self._changed = threading.Condition()

    def enter(self, amount: int, stop: threading.Event) -> None:
        """Wait until `amount` fits and hold it for this thread; return at once when `stop` is set."""
        thread = threading.get_ident()
        with self._changed:
            while self._held and thread not in self._held and self._full(amount) and not stop.is_set():
                self._changed.wait(timeout=0.5)
            self._held[thread] = self._held.get(thread, 0) + amount

    def leave(self) -> None:
        """Release all that this thread holds."""
        with self._changed:
            self._held.pop(threading.get_ident(), None)
            self._changed.notify_all()

    def _full(self, amount: int) -> bool:
        return self._limit is not None and sum(self._held.values()) + amount > self._limit
