"""Streams of images: checked one by one, copied while they wait, named by their number in errors."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy.typing as npt

from ..errors import DaeError, InputError
from ..pixels.arrays import Array, as_image
from .grouping import WINDOW_VALUES, by_shape, windows


def denoise_stream(
    images: Iterable[npt.ArrayLike], batch_size: int | None, denoise: Callable[[Array], Array]
) -> Iterator[Array]:
    """Denoise images in small groups, those of one shape and dtype as one batch; yield the results in order.

    Args:
        images: Each (H, W) or (H, W, C); taken only as far as the next result needs.
        batch_size: Images per group; None for up to 256 small ones.
        denoise: Denoises one image or a batch.
    """
    number = 0
    for window in windows(_single_images(images, batch_size), lambda image: image.size, batch_size):
        yield from _denoise_window(window, number, denoise)
        number += len(window)


def _denoise_window(images: list[Array], number: int, denoise: Callable[[Array], Array]) -> Iterator[Array]:
    """Yield the results of one group; `number` is that of its first image."""
    if len(images) > 1:
        with contextlib.suppress(DaeError):  # raised before the first result; single runs find the image
            yield from by_shape(images, lambda batch, _: denoise(batch))
            return
    for place, image in enumerate(images, number):
        yield _with_number(place, partial(denoise, image))


def _single_images(images: Iterable[npt.ArrayLike], batch_size: int | None) -> Iterator[Array]:
    """Yield checked images; those that wait for their group are copied, as the caller may reuse one array."""
    for number, noisy in enumerate(images):
        image = _with_number(number, partial(_single_image, noisy))
        # An image that fills a group is denoised before the next is taken, which may reuse its memory.
        fills_group = image.size >= WINDOW_VALUES if batch_size is None else batch_size == 1
        yield image if fills_group else image.copy()


def _with_number(number: int, work: Callable[[], Array]) -> Array:
    """Call `work`; its errors name the image of the stream."""
    try:
        return work()
    except DaeError as error:
        raise type(error)(f"image {number} of the stream (counted from 0): {error}") from error


def _single_image(noisy: npt.ArrayLike) -> Array:
    image = as_image(noisy)
    if image.ndim == 4:
        raise InputError(f"a stream takes single images, (H, W) or (H, W, C); received a batch {image.shape}.")
    return image
