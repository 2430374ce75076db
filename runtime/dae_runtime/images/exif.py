"""EXIF blocks: made to fit upright, denoised pixels, and converted from and to the tags of a TIFF."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from .headers import Read
from .tags import (
    EXIF_IFD,
    GPS_IFD,
    ORIENTATION,
    Directory,
    Layout,
    Tag,
    layout_of,
    pack_directory,
    read_directories,
)

DESCRIPTIVE = (269, 270, 271, 272, 285, 305, 306, 315, 316, 33432, EXIF_IFD, GPS_IFD)
"""Tags of a TIFF that EXIF has, too: names, texts, camera, software, time, artist, copyright, EXIF and GPS."""
_PREFIX = b"Exif\0\0"
_WIDTH, _HEIGHT = 0xA002, 0xA003
_MODEL, _ISO = 272, 0x8827
_LONGEST_NAME = 64
_THUMBNAILS = ((0x201, 0x202), (0x111, 0x117))
"""Tags of offset and size of a thumbnail: of a JPEG, and of bare pixels."""


def without_prefix(block: bytes) -> bytes:
    """Return an EXIF block without the name that JPEG, and some WebP files, put before it."""
    return block.removeprefix(_PREFIX)


def fitted(block: bytes, width: int, height: int) -> tuple[bytes, bool]:
    """Return a block that fits upright pixels of a size, and whether a thumbnail was taken out.

    Everything else stays in its place, byte by byte, since maker notes hold offsets. The thumbnail shows the noisy picture,
    in the orientation of the camera.
    """
    data = bytearray(without_prefix(block))
    layout = layout_of(bytes(data[:4]))
    directories = read_directories(_reader(bytes(data)))
    if layout is None or not directories:
        return bytes(data), False
    main = layout.number(bytes(data[4:8]))
    _set(data, layout, main, {ORIENTATION: 1})
    if EXIF_IFD in directories[0]:
        _set(data, layout, directories[0][EXIF_IFD].offset, {_WIDTH: width, _HEIGHT: height})
    has_thumbnail = len(directories) > 1
    if has_thumbnail:
        _cut_thumbnails(data, directories[1:])
        end = main + 2 + 12 * layout.number(bytes(data[main : main + 2]))
        data[end : end + 4] = bytes(4)
    return bytes(data), has_thumbnail


def orientation_of(block: bytes) -> int:
    """Return the orientation that an EXIF block gives, 1 to 8."""
    directories = read_directories(_reader(without_prefix(block)))
    return orientation_in(directories[0]) if directories else 1


def orientation_in(directory: Directory) -> int:
    """Return the orientation of a directory, 1 to 8."""
    tag = directory.get(ORIENTATION)
    value = tag.values[0] if tag is not None and tag.type in (1, 3, 4) else 1
    return value if 1 <= value <= 8 else 1


def camera_of(metadata: Mapping[str, Any]) -> str:
    """Return the model of the camera and the ISO, as `NIKON D800, ISO 3200`; empty where a file does not tell the model."""
    directories = read_directories(_reader(without_prefix(metadata.get("exif-data", b""))))
    model = directories[0].get(_MODEL) if directories else None
    if model is None or model.type != 2:
        return ""
    name = model.data[:_LONGEST_NAME].decode("latin-1").strip("\0 ")
    exif = directories[0].get(EXIF_IFD)
    iso = None if exif is None or exif.directory is None else exif.directory.get(_ISO)
    speed = iso.values[0] if iso is not None and iso.type == 3 else 0
    return f"{name}, ISO {speed}" if name and speed else name


def resolution_of(directory: Directory) -> dict[str, float]:
    """Return the resolution of a directory in pixels per mm, as `xres` and `yres`; empty without one, or without a unit."""
    unit = directory.get(296)
    mm = {2: 25.4, 3: 10.0}.get(unit.values[0] if unit is not None and unit.type == 3 else 2)
    if mm is None or any(number not in directory or directory[number].type != 5 for number in (282, 283)):
        return {}
    pairs = [struct.unpack_from("<2I", directory[number].data) for number in (282, 283)]
    if not all(all(pair) for pair in pairs):
        return {}
    return {name: over / under / mm for name, (over, under) in zip(("xres", "yres"), pairs, strict=True)}


def resolution_in(block: bytes) -> dict[str, float]:
    """Return the resolution that an EXIF block gives, as `resolution_of`."""
    directories = read_directories(_reader(without_prefix(block)))
    return resolution_of(directories[0]) if directories else {}


def from_tags(directory: Directory) -> bytes | None:
    """Return the EXIF block of a TIFF's directory; None if there is nothing for it."""
    kept = {number: tag for number, tag in directory.items() if number in DESCRIPTIVE}
    return b"II*\0" + struct.pack("<I", 8) + pack_directory(kept, 8)[0] if kept else None


def to_tags(block: bytes) -> Directory:
    """Return what the directory of a TIFF takes from an EXIF block."""
    directories = read_directories(_reader(without_prefix(block)))
    return {number: tag for number, tag in directories[0].items() if number in DESCRIPTIVE} if directories else {}


def _reader(data: bytes) -> Read:
    return lambda offset, count: data[offset : offset + count]


def _set(data: bytearray, layout: Layout, start: int, values: dict[int, int]) -> None:
    """Set single numbers of a directory in place."""
    count = layout.number(bytes(data[start : start + 2]))
    for at in range(start + 2, start + 2 + 12 * count, 12):
        number, kind = (layout.number(bytes(data[place : place + 2])) for place in (at, at + 2))
        if number in values and kind in (3, 4):
            form, value = ("H", min(values[number], 0xFFFF)) if kind == 3 else ("I", values[number])
            struct.pack_into(f"{layout.order}{form}", data, at + 8, value)


def _cut_thumbnails(data: bytearray, directories: list[Directory]) -> None:
    """Blank thumbnails; one at the end of the block is cut off."""
    for directory in directories:
        for place, size in _THUMBNAILS:
            if not {place, size} <= directory.keys():
                continue
            for start, length in zip(_numbers(directory[place]), _numbers(directory[size]), strict=False):
                end = min(start + length, len(data))
                if 8 < start < end:
                    data[start:end] = b"" if end == len(data) else bytes(end - start)


def _numbers(tag: Tag) -> list[int]:
    return tag.values if tag.type in (3, 4, 13) else []
