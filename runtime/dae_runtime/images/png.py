"""Chunks of PNG files beside the pixels.

Source: https://www.w3.org/TR/png-3/
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .exif import without_prefix
from .headers import Read, png_chunks

HEAD_BYTES = 33
"""Of the signature and IHDR."""
_OF_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"hIST", b"IDAT", b"IEND", b"acTL", b"fcTL", b"fdAT")
_OF_STORED_VALUES = {
    b"bKGD": "background color",
    b"sBIT": "significant bits",
    b"oFFs": "position",
    b"pCAL": "pixel calibration",
}
"""Chunks that hold pixel values or belong to a channel layout: kept while the layout is."""
_LABELS = {
    **{b"cICP": "color space (cICP)", b"gAMA": "gamma and primaries", b"cHRM": "gamma and primaries", b"tIME": "time"},
    **{b"mDCV": "HDR mastering", b"mDCv": "HDR mastering", b"cLLI": "HDR mastering", b"cLLi": "HDR mastering"},
    **dict.fromkeys((b"tEXt", b"zTXt", b"iTXt"), "texts"),
    **_OF_STORED_VALUES,
}
_XMP = b"XML:com.adobe.xmp\0"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_MOST_BYTES = 2**26
_Part = tuple[bytes, bytes]


def read_png(read: Read) -> dict[str, Any]:
    """Return the metadata of a PNG: profile, EXIF, XMP, resolution, and its other chunks as they are."""
    found: dict[str, Any] = {}
    parts: list[_Part] = []
    for name, offset, length in png_chunks(read):
        if name in _OF_PIXELS or length > _MOST_BYTES:
            continue
        data = read(offset, length)
        if len(data) < length:
            break
        if not _take(found, name, data):
            parts.append((name, data))
    return {**found, "native": ("png", (read(24, 2), *parts))}


def _take(found: dict[str, Any], name: bytes, data: bytes) -> bool:
    """Put what other formats can hold, too, into `found`; tell whether it was such a chunk."""
    if name == b"iCCP":
        profile = _inflated(data.partition(b"\0")[2][1:])
        if profile is not None:
            found["icc-profile-data"] = profile
        return profile is not None
    if name == b"eXIf":
        found["exif-data"] = data
        return True
    if name == b"iTXt" and data.startswith(_XMP):
        packed, rest = data[len(_XMP)], data[len(_XMP) + 2 :].split(b"\0", 2)
        text = None if len(rest) < 3 else _inflated(rest[2]) if packed else rest[2]
        if text is not None:
            found["xmp-data"] = text
        return text is not None
    if name in _TEXTS and "exif-data" not in found and (exif := _raw_exif(name, data)) is not None:
        found["exif-data"] = exif
        return True
    if name == b"pHYs" and len(data) == 9 and data[8] == 1:
        x, y = struct.unpack_from(">2I", data)
        found |= {"xres": x / 1000, "yres": y / 1000}
        return True
    return False


def name_of(part: _Part, parts: Iterable[_Part]) -> str | None:
    """Return what people call a chunk; None if nothing is lost without it."""
    name, data = part
    names = {name for name, _ in parts}
    if name == b"sRGB" or (name in (b"gAMA", b"cHRM") and b"sRGB" in names):
        return None  # as files without any mark are shown
    if name == b"pHYs":
        return "pixel aspect" if data[:4] != data[4:8] else None
    return _LABELS.get(name, f"chunk {name.decode('latin-1')}")


def png_parts(metadata: Mapping[str, Any], layout: bytes) -> bytes:
    """Return the chunks to put before the pixels.

    Args:
        metadata: From any format.
        layout: Depth and color type of the PNG.
    """
    kind, native = metadata.get("native", ("", ()))
    chunks = [(name, data) for name, data in _kept(native, layout) if _is_text_sound(name, data)] if kind == "png" else []
    if "icc-profile-data" in metadata:
        chunks.insert(0, (b"iCCP", b"ICC profile\0\0" + zlib.compress(metadata["icc-profile-data"])))
    if "exif-data" in metadata:
        chunks.append((b"eXIf", metadata["exif-data"]))
    if "xmp-data" in metadata:
        chunks.append((b"iTXt", _XMP + bytes(4) + metadata["xmp-data"]))
    if "xres" in metadata:
        x, y = (round(1000 * metadata[name]) for name in ("xres", "yres"))
        chunks.append((b"pHYs", struct.pack(">2IB", x, y, 1)))
    return b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _kept(native: tuple[Any, ...], layout: bytes) -> Iterator[_Part]:
    for name, data in native[1:]:
        if native[0] == layout or name not in _OF_STORED_VALUES:
            yield name, data


def _is_text_sound(name: bytes, data: bytes) -> bool:
    """Tell whether a text has a valid keyword; readers warn of others."""
    keyword, end, _ = data.partition(b"\0")
    return name not in _TEXTS or (bool(end) and 0 < len(keyword) < 80 and keyword == keyword.strip())


def spliced_png(head: bytes, parts: bytes) -> bytes | None:
    """Return the head of a PNG up to its pixels with other chunks than the encoder's; None if the head is not whole yet."""
    offset = HEAD_BYTES
    while len(head) >= offset + 8:
        if head[offset + 4 : offset + 8] == b"IDAT":
            return head[:HEAD_BYTES] + parts + head[offset:]
        offset += 12 + int.from_bytes(head[offset : offset + 4], "big")
    return None


def _raw_exif(name: bytes, data: bytes) -> bytes | None:
    """Return the EXIF block that ImageMagick wrote as text before PNG had a chunk for it."""
    keyword, _, value = data.partition(b"\0")
    if name == b"iTXt" or keyword not in (b"Raw profile type exif", b"Raw profile type APP1"):
        return None
    text = _inflated(value[1:]) if name == b"zTXt" else value
    try:
        block = bytes.fromhex(b"".join((text or b"").split()[2:]).decode("ascii"))
    except ValueError:
        return None
    return without_prefix(block) or None


def _inflated(data: bytes) -> bytes | None:
    try:
        return zlib.decompressobj().decompress(data, _MOST_BYTES)
    except zlib.error:
        return None
