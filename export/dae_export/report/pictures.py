"""Pictures of a report: noisy, float32, this file, clean, and the amplified difference."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from dae_runtime.images import encode
from dae_runtime.pixels.arrays import FloatArray, convert

from ..measure.details import Stack

GAP_PX = 1
"""Gap between images of a sheet."""
STRONGEST = 128
"""Largest amplification of the difference."""


@dataclass(frozen=True)
class Picture:
    """One piece in all versions."""

    height_px: int
    width_px: int
    amplified: int
    """Amplification of the difference between this file and float32."""
    png: Mapping[str, bytes] = field(repr=False)
    """PNG files by `noisy`, `fp32`, `file`, `clean` (if available) and `difference`, gray for none."""


def draw(stack: Stack) -> Picture:
    """Draw one piece; several images become a sheet."""
    whole = {name: _sheet(images) for name, images in stack.items()}
    difference = whole["file"] - whole["fp32"]
    amplified = _amplification(float(np.abs(difference).max()))
    whole["difference"] = 0.5 + amplified * difference
    height, width = whole["file"].shape[:2]
    return Picture(height, width, amplified, {name: _png(image) for name, image in whole.items()})


def _sheet(images: FloatArray) -> FloatArray:
    """Arrange (N, H, W, C) in a nearly square grid."""
    count, height, width, channels = images.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    gap = GAP_PX if count > 1 else 0
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), 0.5, np.float32)
    for number, image in enumerate(images):
        top, left = number // columns * (height + gap), number % columns * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return sheet


def _amplification(largest: float) -> int:
    """Return the largest power of two that keeps the difference within black and white."""
    if largest == 0:
        return STRONGEST
    return int(min(2 ** max(math.floor(math.log2(0.5 / largest)), 0), STRONGEST))


def _png(image: FloatArray) -> bytes:
    """Encode (H, W, 1 or 3) as an 8-bit PNG."""
    pixels = convert(image, np.uint8)
    return encode(pixels[..., 0] if pixels.shape[2] == 1 else pixels, "png")
