"""Images that hold less than their arrays could: gray stored as RGB, and 9 to 15 bits stored in 16."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .arrays import Array, color_channels, strips
from .channels import copy_channels

FULL = 65535
RECOGNIZED_BITS = (10, 12, 14)
"""What cameras and scanners store in 16 bits. Told by a largest value of exactly their white: an image that is merely dark has
that one by a rare accident."""
_PROBE_STEP = 8
"""Distance of the pixels, along both axes, that are compared before all are."""


@dataclass(frozen=True)
class Stored:
    """How an image is stored."""

    is_gray: bool = False
    """Three color channels that are equal in every pixel."""
    white: int = FULL
    """The value of white; only of uint16."""

    def opened(self, batch: Array) -> Array:
        """Return a batch (N, H, W, C) as it is meant: one color channel for gray, white at the top. Alpha stays."""
        if self == PLAIN:
            return batch
        colors = color_channels(batch.shape[3])
        meant = batch[..., : 1 if self.is_gray else colors]
        if self.white != FULL:
            meant = _scaled(meant, FULL / self.white)
        return meant if colors == batch.shape[3] else np.concatenate([meant, batch[..., colors:]], axis=3)

    def closed(self, clean: Array, channels: int, into: Array | None = None) -> Array:
        """Undo `opened` on what became of its result.

        Args:
            clean: What `opened` gave, denoised.
            channels: Of the batch as it is stored.
            into: The batch as it is stored, to write the result to; None for a new array. `clean` may be a view of it.
        """
        if self == PLAIN:
            return clean
        result = np.empty((*clean.shape[:3], channels), clean.dtype) if into is None else into
        meant, stored = color_channels(clean.shape[3]), color_channels(channels)
        for rows in strips(clean.shape[1]):
            colors = clean[:, rows, :, :meant]
            copy_channels(colors if self.white == FULL else _scaled(colors, self.white / FULL), result[:, rows, :, :stored])
            result[:, rows, :, stored:] = clean[:, rows, :, meant:]
        return result


PLAIN = Stored()


def stored_as(image: Array, bits: int | None) -> Stored:
    """Find out how one image is stored.

    Args:
        image: (H, W, C) with C from 1 to 4; uint8, uint16 or float32.
        bits: Bits that the values of a uint16 image use; None to recognize `RECOGNIZED_BITS`.

    Raises:
        InputError: A value is larger than `bits` allow.
    """
    colors = color_channels(image.shape[2])
    is_gray = colors == 3 and _channels_equal(image)
    if image.dtype != np.uint16:
        return Stored(is_gray)
    if bits is None or bits < 16:
        largest = int(image[..., :colors].max())
        if bits is None:
            return Stored(is_gray, largest if largest in [2**n - 1 for n in RECOGNIZED_BITS] else FULL)
        if largest >= 2**bits:
            raise InputError(
                f"bits must be at least {largest.bit_length()} for an image with the value {largest}, not {bits}."
            )
        return Stored(is_gray, 2**bits - 1)
    return Stored(is_gray)


def _channels_equal(image: Array) -> bool:
    parts = itertools.chain([image[::_PROBE_STEP, ::_PROBE_STEP]], (image[rows] for rows in strips(len(image))))
    # Channel by channel: numpy takes ten times as long for loops over three values.
    return all(bool((part[..., 0] == part[..., channel]).all()) for part in parts for channel in (1, 2))


def _scaled(values: Array, factor: float) -> Array:
    result = np.empty(values.shape, np.uint16)
    for rows in strips(values.shape[1]):
        part = values[:, rows] * np.float32(factor)
        np.rint(part, out=part)
        result[:, rows] = np.minimum(part, FULL, out=part)
    return result
