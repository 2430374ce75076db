"""Chunks of WebP files beside the pixels.

Source: https://developers.google.com/speed/webp/docs/riff_container
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Any

from .exif import without_prefix
from .headers import Read, webp_chunks

LEAST_DELAY_MS = 11
"""The encoder takes shorter frame times for errors, and writes 100 ms; so this is added, and taken off again."""
_OF_PIXELS = (b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF")
_BLOBS = {b"ICCP": ("icc-profile-data", 0x20), b"EXIF": ("exif-data", 0x08), b"XMP ": ("xmp-data", 0x04)}
_ALPHA = 0x10
_MOST_BYTES = 2**26


def read_webp(read: Read) -> dict[str, Any]:
    """Return the metadata of a WebP: profile, EXIF, XMP, frame times in ms and loops, and its other chunks."""
    found: dict[str, Any] = {}
    delays: list[int] = []
    parts = []
    for name, offset, length in webp_chunks(read):
        if name == b"ANMF":
            delays.append(int.from_bytes(read(offset + 12, 3), "little"))
        elif name == b"ANIM":
            found["loop"] = int.from_bytes(read(offset + 4, 2), "little")
        elif name not in _OF_PIXELS and length <= _MOST_BYTES:
            data = read(offset, length)
            if len(data) < length:
                break
            if name in _BLOBS:
                found.setdefault(_BLOBS[name][0], without_prefix(data) if name == b"EXIF" else data)
            else:
                parts.append((name, data))
    if len(delays) > 1:
        found["delay"] = delays
    else:
        found.pop("loop", None)
    return {**found, "native": ("webp", tuple(parts))}


def name_of(part: tuple[bytes, bytes]) -> str:
    """Return what people call a chunk."""
    return f"chunk {part[0].decode('latin-1').strip()}"


def with_parts(content: bytes, metadata: Mapping[str, Any], width: int, height: int) -> bytes:
    """Return a WebP with metadata, and with the frame times that it should have.

    Args:
        content: From the encoder; frame times are `LEAST_DELAY_MS` too long.
        metadata: From any format.
        width: Of the canvas.
        height: Likewise.
    """

    def read(offset: int, count: int) -> bytes:
        return content[offset : offset + count]

    chunks = {name: data for name, (key, _) in _BLOBS.items() if (data := metadata.get(key)) is not None}
    kind, native = metadata.get("native", ("", ()))
    others = native if kind == "webp" else ()
    pixels = [(name, read(offset, length)) for name, offset, length in webp_chunks(read)]
    pixels = _with_delays(pixels, metadata.get("delay", ()))
    first = pixels[0]
    if first[0] != b"VP8X":
        if not chunks and not others:
            return content
        alpha = _ALPHA if first[0] == b"VP8L" and len(first[1]) > 4 and first[1][4] & 0x10 else 0
        sides = ((side - 1).to_bytes(3, "little") for side in (width, height))
        first = (b"VP8X", struct.pack("<I", alpha) + b"".join(sides))
    else:
        pixels = pixels[1:]
    flags = first[1][0] | sum(_BLOBS[name][1] for name in chunks)
    first = (b"VP8X", bytes((flags,)) + first[1][1:])
    before = [(name, data) for name, data in chunks.items() if name == b"ICCP"]
    after = [(name, data) for name, data in chunks.items() if name != b"ICCP"]
    body = b"WEBP" + b"".join(map(_chunk, (first, *before, *pixels, *after, *others)))
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _with_delays(chunks: list[tuple[bytes, bytes]], delays: Iterable[int]) -> list[tuple[bytes, bytes]]:
    """Set frame times; the encoder makes one frame of equal ones, with the sum of their times."""
    left, result = list(delays), []
    for name, data in chunks:
        if name == b"ANMF" and left:
            written, time = int.from_bytes(data[12:15], "little"), 0
            while left and written >= left[0] + LEAST_DELAY_MS:
                written -= left[0] + LEAST_DELAY_MS
                time += left.pop(0)
            data = data[:12] + min(time, 0xFFFFFF).to_bytes(3, "little") + data[15:]
        result.append((name, data))
    return result


def _chunk(part: tuple[bytes, bytes]) -> bytes:
    name, data = part
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
