"""Images that are accepted: their size, their pixels, and the kinds of file that can hold them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import ImageError
from .pnm import Pixels
from .ranges import MAPPED, RANGE
from .savers import FORMS

BYTES = {"uchar": 1, "ushort": 2}
"""Of a value while it is decoded; 8 for those that are mapped."""
_COLOR_SPACES = {"b-w": (1, 2), "grey16": (1, 2), "srgb": (3, 4), "rgb": (3, 4), "rgb16": (3, 4)}
"""Supported interpretations with their numbers of channels."""


def check_size(height: int, width: int, max_pixels: int) -> None:
    """Raise ImageError for an image larger than the limit."""
    if width * height > max_pixels:
        raise ImageError(
            f"{width} x {height} pixels exceed the limit of {max_pixels / 1e6:.4g} million; cut the image, or raise the limit"
        )


def check_kind(image: Any, is_mapped: bool = False) -> None:
    """Raise ImageError for pixel formats that cannot be denoised faithfully."""
    if is_mapped:
        if image.bands not in (1, 3):
            raise ImageError(
                f"{image.bands} channels of type {image.format} are not supported; convert the image to gray or RGB"
            )
        return
    if image.format in MAPPED:
        raise ImageError(
            f"pixels of type {image.format} are not supported without the values of black and white; give them with "
            "--range LO-HI, for a TIFF, or convert the image to 8 or 16 bits per channel"
        )
    if image.format not in BYTES:
        raise ImageError(f"pixels of type {image.format} are not supported; convert the image to 8 or 16 bits per channel")
    if image.interpretation == "cmyk":
        raise ImageError("a CMYK image cannot be denoised directly; convert it to RGB with its color profile")
    if image.bands not in _COLOR_SPACES.get(image.interpretation, ()):
        raise ImageError(
            f"{image.bands} channels in the color space {image.interpretation} are not supported; convert the image to gray "
            "or RGB"
        )


def check_holds(pixels: Pixels, kind: str, pages: int, metadata: Mapping[str, Any]) -> None:
    """Raise ImageError for pixels that a kind of file cannot hold."""
    if pixels.size == 0:  # libvips' own error ends the process later
        raise ImageError(f"an image file holds at least one pixel; received an array of shape {pixels.shape}")
    if kind == "jpeg" and pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        raise ImageError("JPEG cannot hold alpha; write PNG, TIFF or WebP")
    if pages > 1 and kind not in ("tiff", "webp"):
        raise ImageError(f"{kind.upper()} cannot hold {pages} pages or frames; write TIFF or WebP")
    if pixels.dtype == np.float32 and not (kind == "tiff" and RANGE in metadata):
        raise ImageError(f"{kind.upper()} cannot hold float or signed values; write TIFF")
    if kind != "tiff" and FORMS in metadata:
        raise ImageError(f"{kind.upper()} cannot hold pages of several sizes; write TIFF")
