"""Metadata of image files: read, fitted to denoised pixels, and what of it is not in an output.

A mapping with these keys, each where the file has it: `icc-profile-data`, `exif-data`, `xmp-data` and `iptc-data` (bytes, the
last as Photoshop's resources), `xres` and `yres` (pixels per mm), `aspect` (of pixels without a unit), `delay` (ms of each
frame), `loop`; `native` has the file's other parts, which only the same format can hold, with its name; `lost` names what is
never kept.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from typing import Any

from . import avif, jpeg, png, tiff, webp
from .exif import fitted, orientation_of, resolution_in, without_prefix
from .headers import Read

LARGEST_RESOLUTION = 1e6 / 25.4
"""In pixels per mm, the most that is written."""

_READERS: Mapping[str, Callable[[Read], dict[str, Any]]] = {
    **{"png": png.read_png, "jpeg": jpeg.read_jpeg, "tiff": tiff.read_tiff, "webp": webp.read_webp, "avif": avif.read_avif},
    "gif": lambda read: {},
}
_NAMES = {
    **{"icc-profile-data": "color profile", "exif-data": "EXIF", "xmp-data": "XMP", "iptc-data": "IPTC", "xres": "resolution"},
    **{"aspect": "pixel aspect", "delay": "frame times", "texts": "texts", "gamma": "gamma and primaries"},
}
_HELD_BY_OTHERS = {"bmp": frozenset(("resolution",))}
_GAIN_MAP = re.compile(rb"""\s+hdrgm:\w+=("[^"]*"|'[^']*')|<Container:Directory.*?</Container:Directory>""", re.DOTALL)
_THUMBNAILS = re.compile(rb"<(xmp|xap):Thumbnails\b.*?</\1:Thumbnails>", re.DOTALL)
_ORIENTATION = re.compile(rb"""(tiff:Orientation\s*(?:=\s*["']|>\s*))[2-8]""")
_THUMBNAIL_RESOURCES = (1033, 1036)


def read_metadata(kind: str, read: Read) -> dict[str, Any]:
    """Return the metadata of a PNG, JPEG, TIFF, WebP or AVIF file; of a GIF none."""
    return _READERS[kind](read)


def orientation(metadata: Mapping[str, Any], image: Any) -> int:
    """Return the orientation of a file, 1 to 8: of the EXIF block that is written again, else what libvips found.

    An AVIF is turned by its decoder, as its own boxes say.
    """
    if metadata.get("native", ("tiff",))[0] not in ("tiff", "avif") and "exif-data" in metadata:
        return orientation_of(metadata["exif-data"])
    return int(image.get("orientation")) if image.get_typeof("orientation") else 1


def fit_to(metadata: Mapping[str, Any], width: int, height: int) -> dict[str, Any]:
    """Return the metadata of a file for its pixels, denoised and upright: without thumbnails and gain maps."""
    fitting = dict(metadata)
    lost = set(metadata.get("lost", ()))
    if "exif-data" in metadata:
        fitting["exif-data"], has_thumbnail = fitted(metadata["exif-data"], width, height)
        lost |= {"thumbnail"} if has_thumbnail else set()
    if "xmp-data" in metadata:
        text = _ORIENTATION.sub(rb"\g<1>1", metadata["xmp-data"])
        fitting["xmp-data"] = _THUMBNAILS.sub(b"", _GAIN_MAP.sub(b"", text))
        lost |= {"HDR gain map"} if b"hdrgm:" in text else set()
        lost |= {"thumbnail"} if _THUMBNAILS.search(text) else set()
    if "iptc-data" in metadata:
        fitting["iptc-data"], has_thumbnail = _without_thumbnails(metadata["iptc-data"])
        lost |= {"thumbnail"} if has_thumbnail else set()
    return {**fitting, "lost": frozenset(lost)}


def for_kind(metadata: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return metadata to write as a kind of file: a sound resolution, from EXIF where another format had it only there."""
    result = dict(metadata)
    if "exif-data" in result:
        result["exif-data"] = without_prefix(result["exif-data"])
    if "xres" not in result and "exif-data" in result and result.get("native", (kind,))[0] != kind:
        result |= resolution_in(result["exif-data"])
    given = [result[name] for name in ("xres", "yres") if name in result]
    if len(given) != 2 or not all(0 < value <= LARGEST_RESOLUTION for value in given):
        result.pop("xres", None)
        result.pop("yres", None)
    return result


def names_of(metadata: Mapping[str, Any]) -> frozenset[str]:
    """Return what people call the metadata that there are."""
    kind, native = metadata.get("native", ("", ()))
    names: set[str | None] = {name for key, name in _NAMES.items() if key in metadata}
    if kind == "png":
        names |= {png.name_of(part, native[1:]) for part in native[1:]}
    elif kind == "jpeg":
        names |= {jpeg.name_of(part) for part in native}
    elif kind == "webp":
        names |= {webp.name_of(part) for part in native}
    elif kind == "tiff":
        names |= tiff.names_of(native)
    return frozenset(name for name in names if name) | frozenset(metadata.get("lost", ()))


def missing(metadata: Mapping[str, Any], kind: str, read: Read) -> tuple[str, ...]:
    """Return what people call the metadata of a source that its output does not have.

    Args:
        metadata: Of the source.
        kind: Of the output.
        read: Reads the output.
    """
    there = names_of(read_metadata(kind, read)) if kind in _READERS else _HELD_BY_OTHERS.get(kind, frozenset[str]())
    return tuple(sorted(names_of(metadata) - there))


def _without_thumbnails(resources: bytes) -> tuple[bytes, bool]:
    """Return Photoshop's resources without thumbnails, and whether there were some; damaged ones as they are."""
    kept, offset = [], 0
    while resources[offset : offset + 4] == b"8BIM" and offset + 12 <= len(resources):
        (number,) = struct.unpack_from(">H", resources, offset + 4)
        name_bytes = (resources[offset + 6] + 2) // 2 * 2
        start = offset + 6 + name_bytes + 4
        length = int.from_bytes(resources[start - 4 : start], "big")
        end = start + length + length % 2
        kept.append((number, resources[offset:end]))
        offset = end
    rest = resources[offset:]
    found = any(number in _THUMBNAIL_RESOURCES for number, _ in kept)
    return b"".join(data for number, data in kept if number not in _THUMBNAIL_RESOURCES) + rest, found
