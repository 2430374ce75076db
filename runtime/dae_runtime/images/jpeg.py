"""Segments of JPEG files beside the pixels.

Source: ITU T.81 and T.871 (JFIF); CIPA DC-008 (EXIF), DC-007 (several images); the XMP specification, part 3; ICC.1, annex B.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from .headers import Read, jpeg_end, jpeg_segments

_EXIF, _XMP, _MORE_XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
_ICC, _PHOTOSHOP = b"ICC_PROFILE\0", b"Photoshop 3.0\0"
_LOST = {b"MPF\0": "further images", b"urn:iso:std:iso:ts:21496:-1\0": "HDR gain map", b"JFXX\0": "thumbnail"}
"""Segments that describe pixels which are not read, by their start."""
_APP0, _APP1, _APP2, _APP11, _APP13, _APP14, _COMMENT = 0xE0, 0xE1, 0xE2, 0xEB, 0xED, 0xEE, 0xFE
_MOST = 65533
"""Bytes that a segment holds."""
_MOST_DENSITY = 65535
_TAIL_BYTES = 2**12
_Part = tuple[int, bytes]


def read_jpeg(read: Read) -> dict[str, Any]:
    """Return the metadata of a JPEG: profile, EXIF, XMP, Photoshop's with IPTC, resolution, and its other segments."""
    found: dict[str, Any] = {}
    profile: list[bytes] = []
    parts: list[_Part] = []
    lost: set[str] = set()
    for marker, offset, length in jpeg_segments(read):
        if not (0xE0 <= marker <= 0xEF or marker == _COMMENT):
            continue
        data = read(offset, length)
        name = next((name for start, name in _LOST.items() if marker < _COMMENT and data.startswith(start)), None)
        if marker == _APP11:
            name = "content credentials or layers (APP11)"
        if name is not None:
            lost.add(name)
        elif marker == _APP2 and data.startswith(_ICC):
            profile.append(data[len(_ICC) :])
        elif not _take(found, lost, marker, data):
            parts.append((marker, data))
    if "further images" not in lost and (end := jpeg_end(read)) is not None and read(end, _TAIL_BYTES).strip(b"\0\xff"):
        lost.add("data behind the image")  # such as the film of a motion photo
    if profile:
        found["icc-profile-data"] = b"".join(part[2:] for part in sorted(profile, key=lambda part: part[0]))
    return {**found, "lost": frozenset(lost), "native": ("jpeg", tuple(parts))}


def _take(found: dict[str, Any], lost: set[str], marker: int, data: bytes) -> bool:
    """Put what other formats can hold, too, into `found`; tell whether it was such a segment."""
    if marker == _APP0 and data.startswith(b"JFIF\0"):
        if len(data) >= 14:
            unit, x, y = struct.unpack_from(">B2H", data, 7)
            if x and y and (mm := {1: 25.4, 2: 10}.get(unit)):
                found |= {"xres": x / mm, "yres": y / mm}
            if unit == 0 and x != y:
                found["aspect"] = (x, y)
            lost |= {"thumbnail"} if data[12] * data[13] else set()
        return True
    for start, name in ((_EXIF, "exif-data"), (_XMP, "xmp-data"), (_PHOTOSHOP, "iptc-data")):
        if marker == (_APP13 if start == _PHOTOSHOP else _APP1) and data.startswith(start):
            found[name] = (
                found.get(name, b"") + data[len(start) :] if name == "iptc-data" else found.get(name, data[len(start) :])
            )
            return True
    return marker == _APP14 and data.startswith(b"Adobe")


def name_of(part: _Part) -> str:
    """Return what people call a segment."""
    marker, data = part
    if marker == _COMMENT:
        return "texts"
    return "XMP extension" if data.startswith(_MORE_XMP) else f"segment APP{marker - _APP0}"


def jpeg_parts(metadata: Mapping[str, Any]) -> bytes:
    """Return the segments to put behind the start of the image."""
    kind, native = metadata.get("native", ("", ()))
    parts: list[_Part] = [(_APP0, b"JFIF\0\1\2" + _density(metadata) + b"\0\0")]
    for name, start, marker in (("exif-data", _EXIF, _APP1), ("xmp-data", _XMP, _APP1)):
        if name in metadata and len(metadata[name]) + len(start) <= _MOST:
            parts.append((marker, start + metadata[name]))
    if "icc-profile-data" in metadata:
        parts += [(_APP2, part) for part in _profile_parts(metadata["icc-profile-data"])]
    for piece in _pieces(metadata.get("iptc-data", b""), _MOST - len(_PHOTOSHOP)):
        parts.append((_APP13, _PHOTOSHOP + piece))
    parts += native if kind == "jpeg" else ()
    return b"".join(struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data for marker, data in parts)


def spliced_jpeg(head: bytes, parts: bytes) -> bytes | None:
    """Return the head of a JPEG with segments in front of the encoder's; None if the head is not whole yet."""
    return None if len(head) < 2 else head[:2] + parts + head[2:]


def _pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def _profile_parts(profile: bytes) -> list[bytes]:
    pieces = _pieces(profile, _MOST - len(_ICC) - 2)
    if len(pieces) > 255:
        return []
    return [_ICC + bytes((number, len(pieces))) + piece for number, piece in enumerate(pieces, 1)]


def _density(metadata: Mapping[str, Any]) -> bytes:
    """Return unit and densities for JFIF: per inch, per cm if that is exact, or only the aspect."""
    if "xres" in metadata:
        exact = all(abs(metadata[name] * 25.4 - round(metadata[name] * 25.4)) < 0.005 for name in ("xres", "yres"))
        unit, factor = (1, 25.4) if exact or metadata["xres"] * 10 % 1 else (2, 10.0)
        values = [round(metadata[name] * factor) for name in ("xres", "yres")]
        if all(0 < value <= _MOST_DENSITY for value in values):
            return struct.pack(">B2H", unit, *values)
    return struct.pack(">B2H", 0, *metadata.get("aspect", (1, 1)))
