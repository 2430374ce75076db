"""Group items into batches that fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from ..pixels.arrays import Array

T = TypeVar("T")

WINDOW_ITEMS = 256
WINDOW_VALUES = 2**18
"""Larger batches gain nothing: their images keep every CPU busy."""
MOST_VALUES = 2**28
"""Of a list, whatever its size: more would exhaust the memory of many machines."""


def windows(items: Iterable[T], values_of: Callable[[T], int], batch_size: int | None = None) -> Iterator[list[T]]:
    """Cut an iterable into lists, lazily and in order.

    If taking an item fails, the items before it are yielded as a last list, then the error is raised.

    Args:
        items: Taken only as far as the next list needs.
        values_of: Returns the number of values (pixels times channels) of an item.
        batch_size: Items per list, fewer where they have `MOST_VALUES`; None for up to 256, fewer when they are large.
    """
    window: list[T] = []
    values = 0
    try:
        for item in items:
            window.append(item)
            values += values_of(item)
            full = len(window) >= (batch_size or WINDOW_ITEMS)
            if full or values >= (WINDOW_VALUES if batch_size is None else MOST_VALUES):
                complete, window, values = window, [], 0
                yield complete
    except Exception:
        if window:
            yield window
        raise
    if window:
        yield window


def until(items: Iterable[T], cancel: Callable[[], bool] | None) -> Iterator[T]:
    """Yield items until `cancel`, called before each, returns true."""
    iterator = iter(items)
    while cancel is None or not cancel():
        try:
            item = next(iterator)
        except StopIteration:
            return
        yield item


def by_shape(
    images: list[Array],
    denoise: Callable[[Array, list[float] | None], Array],
    levels: Sequence[float | None] | None = None,
) -> Iterator[Array]:
    """Denoise images of equal shape and dtype as one batch each; yield the results in the order of the images.

    Args:
        images: Each (H, W) or (H, W, C).
        denoise: Maps (N, H, W, C) and the noise levels of the images, or None, to the same shape.
        levels: Of each image, its noise level; None for none.
    """
    groups: dict[tuple[Any, ...], tuple[list[Array], list[float]]] = {}
    places: list[tuple[tuple[Any, ...], int]] = []
    for image, level in zip(images, levels or [None] * len(images), strict=True):
        key = (image.shape, image.dtype, level is None)
        group, group_levels = groups.setdefault(key, ([], []))
        places.append((key, len(group)))
        group.append(image)
        group_levels += [] if level is None else [level]
    clean = {
        key: denoise(_batch(group), group_levels or None).reshape(len(group), *key[0])
        for key, (group, group_levels) in groups.items()
    }
    for key, place in places:
        yield clean[key][place].copy()  # a view would keep the whole batch alive


def _batch(images: list[Array]) -> Array:
    """Return images of one shape and dtype as (N, H, W, C)."""
    batch = np.empty((len(images), *images[0].shape), images[0].dtype)
    for place, image in enumerate(images):  # three times as fast as numpy.stack for many small images
        batch[place] = image
    return batch.reshape(*batch.shape[:3], -1)
