"""Uncompressed BMP files, which libvips' wheels cannot read.

Source: https://learn.microsoft.com/windows/win32/gdi/bitmap-storage
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ImageError
from .pnm import Pixels

_FILE_HEADER = struct.Struct("<2sIHHI")
_CORE_HEADER = struct.Struct("<IHHHH")
_INFO_HEADER = struct.Struct("<IiiHHIIiiII")
_V4_BYTES = 108
_RGB, _BITFIELDS, _ALPHA_BITFIELDS = 0, 3, 6
_COMPRESSIONS = {1: "RLE8", 2: "RLE4", 4: "JPEG", 5: "PNG"}
_BGR_MASKS = (0xFF0000, 0xFF00, 0xFF)
_ALPHA_MASK = 0xFF000000
_SRGB = 0x73524742
_PIXELS_PER_MM = 1000  # BMP counts pixels per meter


@dataclass(frozen=True)
class _Header:
    offset: int
    width: int
    height: int
    bottom_up: bool
    bits: int
    alpha: bool
    palette: Pixels
    """(entries, 3) RGB; empty for 24 and 32 bits."""
    metadata: dict[str, Any]

    @property
    def row_bytes(self) -> int:
        return (self.width * self.bits + 31) // 32 * 4


def bmp_size(head: bytes) -> tuple[int, int]:
    """Return height and width from a BMP's first 64 bytes.

    Raises:
        ImageError: The header is damaged or of an unsupported kind.
    """
    header = _read_header(head, with_palette=False)
    return header.height, header.width


def decode_bmp(data: bytes) -> tuple[Pixels, Mapping[str, Any]]:
    """Decode a BMP of 1, 4 or 8 bits with a palette, of 24 bits, or of 32 bits with or without alpha.

    Returns:
        (H, W) uint8 where every palette entry is gray, else (H, W, 3) or (H, W, 4); and the resolution, if given.

    Raises:
        ImageError: The header is damaged, pixels are missing, or the kind is unsupported (16 bits, RLE).
    """
    header = _read_header(data)
    count = header.row_bytes * header.height
    if len(data) < header.offset + count:
        raise ImageError(f"the file is truncated: {header.width} x {header.height} pixels expected")
    rows = np.frombuffer(data, np.uint8, count, header.offset).reshape(header.height, header.row_bytes)
    if header.bottom_up:
        rows = rows[::-1]
    return np.ascontiguousarray(_pixels(rows, header)), header.metadata


def encode_bmp(pixels: Pixels, metadata: Mapping[str, Any]) -> bytes:
    """Encode (H, W), (H, W, 3) or (H, W, 4) uint8 as a BMP of 8, 24 or 32 bits.

    Raises:
        ImageError: The image is gray with alpha.
    """
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if channels == 2:
        raise ImageError("BMP cannot hold gray with alpha; write PNG, TIFF or WebP")
    height, width = pixels.shape[:2]
    row_bytes = (width * channels + 3) // 4 * 4
    rows = np.zeros((height, row_bytes), np.uint8)
    flipped = pixels[::-1].reshape(height, width, channels)
    rows[:, : width * channels] = flipped[..., [2, 1, 0, 3][:channels] if channels > 1 else [0]].reshape(height, -1)
    palette = bytes(value for gray in range(256) for value in (gray, gray, gray, 0)) if channels == 1 else b""
    header_bytes = _V4_BYTES if channels == 4 else _INFO_HEADER.size
    offset = _FILE_HEADER.size + header_bytes + len(palette)
    resolution = [round(metadata.get(name, 0) * _PIXELS_PER_MM) for name in ("xres", "yres")]
    method = _BITFIELDS if channels == 4 else _RGB
    info = _INFO_HEADER.pack(
        header_bytes, width, height, 1, 8 * channels, method, rows.size, *resolution, len(palette) // 4, 0
    )
    if channels == 4:
        info += struct.pack("<5I", *_BGR_MASKS, _ALPHA_MASK, _SRGB)
    return (
        _FILE_HEADER.pack(b"BM", offset + rows.size, 0, 0, offset) + info.ljust(header_bytes, b"\0") + palette + rows.tobytes()
    )


def _read_header(data: bytes, with_palette: bool = True) -> _Header:
    try:
        _, _, _, _, offset = _FILE_HEADER.unpack_from(data)
        (size,) = struct.unpack_from("<I", data, _FILE_HEADER.size)
        if size == _CORE_HEADER.size:
            _, width, height, _, bits = _CORE_HEADER.unpack_from(data, _FILE_HEADER.size)
            method, resolution, colors, entry_bytes = _RGB, [0, 0], 0, 3
        else:
            _, width, height, _, bits, method, _, *resolution, colors, _ = _INFO_HEADER.unpack_from(data, _FILE_HEADER.size)
            entry_bytes = 4
        alpha = _check_kind(data, size, bits, method)
    except struct.error as error:
        raise ImageError("the BMP header is truncated") from error
    if width <= 0 or height == 0 or (bits <= 8 and colors > 1 << bits):
        raise ImageError(f"the BMP header is invalid: {width} x {height} pixels, {colors} colors")
    palette = np.empty((0, 3), np.uint8)
    if bits <= 8 and with_palette:
        count = colors or 1 << bits
        table = np.frombuffer(data, np.uint8)[_FILE_HEADER.size + size :][: count * entry_bytes]
        if len(table) < count * entry_bytes:
            raise ImageError("the BMP palette is truncated")
        palette = table.reshape(count, entry_bytes)[:, 2::-1]
    metadata: dict[str, Any] = {
        name: value / _PIXELS_PER_MM for name, value in zip(("xres", "yres"), resolution, strict=True) if value > 0
    }
    if size >= _V4_BYTES and (lost := _color_space(data)):
        metadata["lost"] = frozenset((lost,))
    return _Header(offset, width, abs(height), height > 0, bits, alpha, palette, metadata)


def _color_space(data: bytes) -> str | None:
    """Return what a long header says about the colors beyond sRGB; None for nothing."""
    kind, primaries = data[70:74], data[74:122]
    if kind in (b"DEBM", b"KNIL"):  # an embedded or a linked profile
        return "color profile"
    return "gamma and primaries" if kind == bytes(4) and any(primaries) else None


def _check_kind(data: bytes, size: int, bits: int, method: int) -> bool:
    """Raise ImageError for unsupported kinds; return whether the fourth byte of a pixel is alpha."""
    if method in _COMPRESSIONS:
        raise ImageError(f"a BMP compressed with {_COMPRESSIONS[method]} is not supported; convert it to PNG")
    if method == _RGB and bits in (1, 4, 8, 24, 32):
        return False
    if method in (_BITFIELDS, _ALPHA_BITFIELDS) and bits == 32:
        start = _FILE_HEADER.size + _INFO_HEADER.size  # the masks follow the short header, or are part of the long one
        if struct.unpack_from("<3I", data, start) == _BGR_MASKS:
            has_alpha = size >= 56 or method == _ALPHA_BITFIELDS
            return has_alpha and struct.unpack_from("<I", data, start + 12)[0] == _ALPHA_MASK
    raise ImageError(f"a BMP of {bits} bits per pixel and compression {method} is not supported; convert it to PNG")


def _pixels(rows: Pixels, header: _Header) -> Pixels:
    height, width = header.height, header.width
    if header.bits > 8:
        step = header.bits // 8
        values = rows[:, : width * step].reshape(height, width, step)
        return values[..., [2, 1, 0, 3]] if header.alpha else values[..., 2::-1]
    if header.bits < 8:
        bits = np.unpackbits(rows, axis=1).reshape(height, -1, header.bits)
        rows = np.packbits(bits, axis=2)[..., 0] >> (8 - header.bits)
    indices = rows[:, :width]
    if int(indices.max()) >= len(header.palette):
        raise ImageError("a pixel of the BMP lies outside its palette")
    gray = (header.palette == header.palette[:, :1]).all()
    return header.palette[:, 0][indices] if gray else header.palette[indices]
