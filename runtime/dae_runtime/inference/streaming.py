"""The images of a stream, one by one: checked, copied where they wait, and named by their number where one is at fault."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy.typing as npt

from ..errors import DaeError, InputError
from ..pixels.arrays import Array, as_image
from .grouping import WINDOW_VALUES


def single_images(images: Iterable[npt.ArrayLike], batch_size: int | None) -> Iterator[Array]:
    """Yield checked images; those that wait for their group are copied, since they may come in one array again and again."""
    for number, noisy in enumerate(images):
        image = with_number(number, partial(_single_image, noisy))
        # What fills a group is denoised before the next image is taken, which may come in the same memory.
        fills_group = image.size >= WINDOW_VALUES if batch_size is None else batch_size == 1
        yield image if fills_group else image.copy()


def with_number(number: int, work: Callable[[], Array]) -> Array:
    """Return what `work` does; an error of it names the image of the stream."""
    try:
        return work()
    except DaeError as error:
        raise type(error)(f"image {number} of the stream (counted from 0): {error}") from error


def _single_image(noisy: npt.ArrayLike) -> Array:
    image = as_image(noisy)
    if image.ndim == 4:
        raise InputError(f"a stream takes single images, (H, W) or (H, W, C); received a batch {image.shape}.")
    return image
