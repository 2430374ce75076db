"""Pictures of a report: the same piece of the same images, noisy, float32, this file, clean, and the difference amplified."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from dae_runtime.pixels.arrays import convert

FloatArray = npt.NDArray[np.float32]
Stack = Mapping[str, FloatArray]
"""The same images, (N, H, W, C) in [0, 1] each: `noisy`, `fp32`, `file` and, where it is known, `clean`."""

LARGEST_SIDE_PX = 256
"""Larger images show their middle."""
SHEET_SIDE_PX = 64
"""Images up to this size are shown together on one sheet."""
SHEET_IMAGES = 16
SEPARATE_IMAGES = 2
GAP_PX = 1
"""Between the images of a sheet."""
CROP_PX = 33
STRONGEST = 128
"""The difference is amplified by at most this."""


@dataclass(frozen=True)
class Picture:
    """One piece in all its versions."""

    height_px: int
    width_px: int
    amplified: int
    """By how much the difference between this file and float32 is amplified."""
    png: Mapping[str, bytes] = field(repr=False)
    """PNG files by `noisy`, `fp32`, `file`, `clean` (where it is known) and `difference`, gray where there is none."""


def draw(stack: Stack) -> Picture:
    """Draw one piece; of several images, a sheet of rows and columns."""
    whole = {name: _sheet(images) for name, images in stack.items()}
    difference = whole["file"] - whole["fp32"]
    amplified = _amplification(float(np.abs(difference).max()))
    whole["difference"] = 0.5 + amplified * difference
    height, width = whole["file"].shape[:2]
    return Picture(height, width, amplified, {name: _png(image) for name, image in whole.items()})


def for_display(stack: Stack) -> list[Stack]:
    """Return what to draw of (N, H, W, C) images: one sheet of small ones, or the middles of a few large ones, one by one."""
    height, width = stack["noisy"].shape[1:3]
    if max(height, width) <= SHEET_SIDE_PX:
        return [{name: images[:SHEET_IMAGES] for name, images in stack.items()}]
    middle = tuple(slice(begin := max(side - LARGEST_SIDE_PX, 0) // 2, begin + LARGEST_SIDE_PX) for side in (height, width))
    chosen = range(min(len(stack["noisy"]), SEPARATE_IMAGES))
    return [{name: images[i : i + 1, middle[0], middle[1]] for name, images in stack.items()} for i in chosen]


def crop_around(stack: Stack, row: int, column: int) -> tuple[Stack, int, int]:
    """Cut the neighborhood of a pixel out of (1, H, W, C) images; return it with the pixel's row and column in it."""
    height, width = stack["noisy"].shape[1:3]
    top, left = (min(max(at - CROP_PX // 2, 0), max(side - CROP_PX, 0)) for at, side in ((row, height), (column, width)))
    piece = {name: images[:, top : top + CROP_PX, left : left + CROP_PX] for name, images in stack.items()}
    return piece, row - top, column - left


def _sheet(images: FloatArray) -> FloatArray:
    """Arrange (N, H, W, C) in rows and columns, about as many of one as of the other."""
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
    """Return the power of two that lets the largest difference just stay within black and white."""
    if largest == 0:
        return STRONGEST
    return int(min(2 ** max(math.floor(math.log2(0.5 / largest)), 0), STRONGEST))


def _png(image: FloatArray) -> bytes:
    """Encode (H, W, 1 or 3) as an 8-bit PNG. Source: https://www.w3.org/TR/png-3/."""
    height, width, channels = image.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    rows = convert(image, np.uint8).reshape(height, -1)
    unfiltered = np.pad(rows, ((0, 0), (1, 0)))  # each row begins with the number of its filter, 0 for none
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(unfiltered.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
