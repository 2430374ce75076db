"""Bundled models that are for one kind of image, and what tells that an image is not of that kind."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..models import bundled_models
from ..pixels.arrays import Array, color_channels, convert

_SAMPLED = 2**16
"""About as many pixels of an image are looked at."""


@dataclass(frozen=True)
class Purpose:
    """The one kind of image that a model is for."""

    words: str
    """What the images show."""
    fits: Callable[[Array], bool]
    """Tells whether values, (n,) float32 of about 0 to 1, may be of such an image."""


def _may_be_digits(values: Array) -> bool:
    """Most of the picture is black or white; noise leaves two fifths of it there, and a photograph seldom has a fifth."""
    return bool(np.mean((values <= 1 / 255) | (values >= 254 / 255)) > 0.25)


def _may_be_page(values: Array) -> bool:
    """Half of a page or more is about as bright as its brightest, also with stains; half of a photograph seldom is."""
    middle, bright = np.quantile(values.clip(0, 1), (0.5, 0.95))
    return bool(middle > 0.72 * bright)


_DIGITS = Purpose("white digits on black", _may_be_digits)
PURPOSES = {"digits": _DIGITS, "mnist-v2": _DIGITS, "document": Purpose("scanned pages of text", _may_be_page)}
"""By the names of the bundled models."""


def purpose_of(source: bytes | Path) -> Purpose | None:
    """Return the purpose of a bundled model; None for the others, and for those of a user."""
    if not isinstance(source, Path) or source.stem not in PURPOSES:
        return None
    return PURPOSES[source.stem] if bundled_models().get(source.stem) == source else None


def fits(purpose: Purpose, batch: Array) -> bool:
    """Tell whether all images of a batch, (N, H, W, C) of any image dtype, may be of the kind of a purpose."""
    _, height, width, channels = batch.shape
    step = max(1, math.isqrt(height * width // _SAMPLED))
    colors = batch[:, ::step, ::step, : color_channels(channels)]
    return all(purpose.fits(convert(image, np.float32).ravel()) for image in colors)
