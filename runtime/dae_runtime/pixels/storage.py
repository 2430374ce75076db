"""Images that hold less than their arrays could: gray stored as RGB, and 9 to 15 bits stored in 16."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .arrays import Array, color_channels

FULL = 65535
RECOGNIZED_BITS = (10, 12, 14)
"""What cameras and scanners store in 16 bits. Told by a largest value of exactly their white: an image that is merely dark has
that one by a rare accident."""
_STRIP_ROWS = 256
"""Rows that are scaled at once: floats take twice the memory."""
_PROBE_STEP = 61
"""Distance of the values that are compared before all are."""


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

    def closed(self, clean: Array, channels: int) -> Array:
        """Undo `opened` on what became of its result.

        Args:
            clean: What `opened` gave, denoised.
            channels: Of the batch as it is stored.
        """
        if self == PLAIN:
            return clean
        colors = color_channels(clean.shape[3])
        meant = clean[..., :colors]
        if self.white != FULL:
            meant = _scaled(meant, self.white / FULL)
        if self.is_gray:
            meant = np.repeat(meant, 3, axis=3)
        return meant if meant.shape[3] == channels else np.concatenate([meant, clean[..., colors:]], axis=3)


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
    flat = image.reshape(-1, image.shape[2])
    return all(bool((flat[::step, :1] == flat[::step, 1:3]).all()) for step in (_PROBE_STEP, 1))


def _scaled(values: Array, factor: float) -> Array:
    result = np.empty(values.shape, np.uint16)
    for top in range(0, values.shape[1], _STRIP_ROWS):
        rows = slice(top, top + _STRIP_ROWS)
        part = values[:, rows] * np.float32(factor)
        np.rint(part, out=part)
        result[:, rows] = np.minimum(part, FULL, out=part)
    return result
