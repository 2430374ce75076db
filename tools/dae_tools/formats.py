"""Print which metadata of image files are kept, as the table of docs/formats.md: `python -m dae_tools.formats`.

A file of each format with everything that it can hold is written as each format, and looked at again.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from dae_runtime.images import decode, encode, lost_metadata

KINDS = ("png", "jpeg", "tiff", "webp", "avif", "bmp", "pnm")
TITLES = {"png": "PNG", "jpeg": "JPEG", "tiff": "TIFF", "webp": "WebP", "avif": "AVIF", "bmp": "BMP", "pnm": "PGM, PPM"}
_EXIF_WITH_THUMBNAIL = (
    b"II*\0\x08\0\0\0"
    + struct.pack("<H2sHI4sI", 1, b"\x3b\x01", 2, 4, b"Ann\0", 26)
    + struct.pack("<H", 2)
    + struct.pack("<HHII", 0x201, 4, 1, 56)
    + struct.pack("<HHII", 0x202, 4, 1, 4)
    + bytes(4)
    + b"\xff\xd8\xff\xd9"
)
_PROFILE = struct.pack(">I4xI4s4s4s12x4s92xI", 132, 0x2400000, b"mntr", b"RGB ", b"XYZ ", b"acsp", 0)
"""The header of a profile, which libvips looks at for AVIF."""
_COMMON: Mapping[str, Any] = {
    "icc-profile-data": _PROFILE,
    "exif-data": _EXIF_WITH_THUMBNAIL,
    "xmp-data": b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>",
    "xres": 300 / 25.4,
    "yres": 300 / 25.4,
}
_PHOTOSHOP = b"8BIM\x04\x04\0\0\0\0\0\4\x1c\x02\0\0"
_PNG_CHUNKS = (
    (b"cICP", b"\x09\x10\0\1"),
    (b"gAMA", struct.pack(">I", 100000)),
    (b"cHRM", struct.pack(">8I", *[31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000])),
    (b"bKGD", bytes(6)),
    (b"tIME", bytes((7, 230, 1, 2, 3, 4, 5))),
    (b"tEXt", b"Title\0noisy"),
)


def full_file(kind: str) -> bytes:
    """Return a small file of a kind with every metadata that it can hold."""
    pixels = np.random.default_rng(0).integers(0, 255, (24, 16, 3), np.uint8)
    if kind == "png":
        return encode(pixels, kind, {**_COMMON, "native": ("png", (b"\x08\x02", *_PNG_CHUNKS))})
    if kind == "jpeg":
        native = (0xE2, b"MPF\0" + bytes(8)), (0xEB, b"JP"), (0xFE, b"a comment")
        gain_map = {"xmp-data": b"<x:xmpmeta xmlns:x='adobe:ns:meta/' hdrgm:Version='1.0'/>"}
        return encode(pixels, kind, {**_COMMON, **gain_map, "iptc-data": _PHOTOSHOP, "native": ("jpeg", native)})
    if kind == "tiff":
        tagged = decode(encode(pixels, kind, {**_COMMON, "iptc-data": _PHOTOSHOP}))
        page = tagged.metadata["native"][1][0]
        other = {33550: page[282].__class__(12, 3, struct.pack("<3d", 1, 2, 3))}
        return encode(pixels, kind, {**tagged.metadata, "native": ("tiff", ({**page, **other},))})
    if kind == "webp":
        return encode(pixels, kind, {**_COMMON, "delay": [5, 40], "loop": 2, "native": ("webp", ((b"abcd", b"x"),))}, pages=2)
    if kind in ("avif", "bmp"):
        return encode(pixels, kind, _COMMON)
    return encode(pixels, kind).replace(b"P6\n", b"P6\n# a comment\n")


def kept(source: str, target: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return what people call the metadata of the full file of a kind, and those of them that another kind keeps."""
    decoded = decode(full_file(source))
    height = decoded.pixels.shape[0] // decoded.pages
    pages, pixels = (decoded.pages, decoded.pixels) if target in ("tiff", "webp") else (1, decoded.pixels[:height])
    names = frozenset(lost_metadata(decoded.metadata, "pnm", b"P6\n1 1\n255\n\0\0\0"))
    return names, names - set(lost_metadata(decoded.metadata, target, encode(pixels, target, decoded.metadata, pages=pages)))


def table() -> str:
    """Return the table as Markdown: a row for each field, a column for each format to write."""
    found = {(source, target): kept(source, target) for source in KINDS for target in KINDS}
    names = sorted({name for have, _ in found.values() for name in have}, key=str.lower)
    rows = [["metadata", "read from", *(f"to {TITLES[kind]}" for kind in KINDS)]]
    for name in names:
        sources = [kind for kind in KINDS if name in found[kind, kind][0]]
        cells = [_cell([source for source in sources if name in found[source, target][1]], sources) for target in KINDS]
        rows.append([name, ", ".join(TITLES[kind] for kind in sources), *cells])
    rows.insert(1, ["---"] * len(rows[0]))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def _cell(keep: list[str], sources: list[str]) -> str:
    return "kept" if keep == sources else f"kept from {', '.join(TITLES[kind] for kind in keep)}" if keep else "no"


if __name__ == "__main__":
    print(table(), end="")
