"""Batches: runs of items small enough to be held at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

WINDOW_ITEMS = 256
WINDOW_VALUES = 2**18
"""A batch of larger images than this in all gains nothing: one image keeps every CPU busy."""


def windows(items: Iterable[T], values_of: Callable[[T], int], batch_size: int | None = None) -> Iterator[list[T]]:
    """Cut an iterable into lists, lazily and in order.

    Args:
        items: Anything; taken only as far as the next list needs.
        values_of: How many values (pixels times channels) an item holds.
        batch_size: Items per list; None for up to 256, fewer when they are large.
    """
    window: list[T] = []
    values = 0
    for item in items:
        window.append(item)
        values += values_of(item)
        full = len(window) >= (batch_size or WINDOW_ITEMS)
        if full or (batch_size is None and values >= WINDOW_VALUES):
            yield window
            window, values = [], 0
    if window:
        yield window
