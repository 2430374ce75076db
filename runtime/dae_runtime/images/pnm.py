"""Binary PGM and PPM files.

Source: https://netpbm.sourceforge.net/doc/pgm.html and ppm.html
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ImageError

Pixels = npt.NDArray[Any]

_GAP = rb"(?:\s|#[^\n\r]*[\n\r])+"
_HEADER = re.compile(rb"P([56])" + _GAP + rb"(\d{1,9})" + _GAP + rb"(\d{1,9})" + _GAP + rb"(\d{1,5})\s")
_ANOTHER = re.compile(rb"\s*P[56][\s#]")
_HEADER_BYTES = 65536


def pnm_size(head: bytes) -> tuple[int, int]:
    """Return height and width from a file's first bytes.

    Raises:
        ImageError: The header is invalid.
    """
    _, height, width, _, _ = _read_header(head)
    return height, width


def decode_pnm(data: bytes) -> Pixels:
    """Decode a P5 (gray) or P6 (RGB) file.

    Returns:
        (H, W) or (H, W, 3); uint8, or uint16 when the file's largest value is above 255. Values are scaled to the full range.

    Raises:
        ImageError: The header is invalid, pixels are missing, or another image follows.
    """
    channels, height, width, white, start = _read_header(data)
    dtype = np.dtype(np.uint8) if white < 256 else np.dtype(">u2")
    count = width * height * channels
    if len(data) - start < count * dtype.itemsize:
        raise ImageError(f"the file is truncated: {width} x {height} pixels expected")
    if _ANOTHER.match(data, start + count * dtype.itemsize):
        raise ImageError("the file holds several images; split it into files of one image each")
    values = np.frombuffer(data, dtype, count, start)
    shape = (height, width) if channels == 1 else (height, width, channels)
    return _full_range(values, white).reshape(shape)


def encode_pnm(pixels: Pixels, kind: str = "pnm") -> bytes:
    """Encode (H, W) or (H, W, 3) uint8 or uint16 as P5 or P6.

    Args:
        pixels: The image.
        kind: `pgm` for gray only, `ppm` for color (gray becomes RGB), `pnm` for PGM or PPM by the channels.

    Raises:
        ImageError: The image has alpha, which these formats cannot hold, or is in color for a PGM.
    """
    if pixels.ndim == 3 and pixels.shape[2] != 3:
        raise ImageError("PGM and PPM cannot hold alpha; write PNG, TIFF or WebP")
    if kind == "pgm" and pixels.ndim == 3:
        raise ImageError(f"PGM holds gray only, but the image is in color, {pixels.shape}; write PPM or PNG")
    if kind == "ppm" and pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    magic = "P5" if pixels.ndim == 2 else "P6"
    white = np.iinfo(pixels.dtype).max
    big_endian = pixels.astype(pixels.dtype.newbyteorder(">"), copy=False)
    return f"{magic}\n{pixels.shape[1]} {pixels.shape[0]}\n{white}\n".encode("ascii") + big_endian.tobytes()


def comments_in(data: bytes) -> dict[str, Any]:
    """Return whether a file has comments, which are not kept, as metadata."""
    return {"lost": frozenset(("texts",))} if b"#" in data[: _read_header(data)[4]] else {}


def _read_header(data: bytes) -> tuple[int, int, int, int, int]:
    """Return channels, height, width, the white value, and the offset of the pixels."""
    header = _HEADER.match(data[:_HEADER_BYTES])
    if header is None:
        raise ImageError("the PGM/PPM header is damaged")
    width, height, white = (int(number) for number in header.groups()[1:])
    if not (width and height and 1 <= white <= 65535):
        raise ImageError(f"the PGM/PPM header is invalid: {width} x {height} pixels, largest value {white}")
    return (1 if header[1] == b"5" else 3), height, width, white, header.end()


def _full_range(values: Pixels, white: int) -> Pixels:
    target = np.dtype(np.uint8) if white < 256 else np.dtype(np.uint16)
    full = np.iinfo(target).max
    if white == full:
        return values.astype(target)
    scaled: Pixels = (values.astype(np.uint32) * full + white // 2) // white
    return np.minimum(scaled, full).astype(target)
