"""Tags and directories of TIFF files, and of EXIF blocks, which have the same structure.

Source: TIFF 6.0; the BigTIFF design of libtiff; CIPA DC-008 (EXIF).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from .headers import Read

EXIF_IFD, GPS_IFD, INTEROP_IFD = 34665, 34853, 40965
ORIENTATION = 274
_POINTERS = (EXIF_IFD, GPS_IFD, INTEROP_IFD)
_WORDS = {3: 2, 4: 4, 5: 4, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes that change their order with the file's, by type; 1 for all others."""
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_MOST_TAGS, _MOST_PAGES, _MOST_BYTES = 4096, 65536, 2**26


@dataclass(frozen=True)
class Tag:
    """One value of a directory."""

    type: int
    count: int
    data: bytes
    """In little-endian order; empty for a directory."""
    offset: int = 0
    """Where the data lies in its file."""
    directory: Mapping[int, Tag] | None = None
    """The content, if the value is a directory: EXIF, GPS or interoperability."""

    @property
    def values(self) -> list[int]:
        """The values of a tag of whole numbers; of ratios, numerators and denominators."""
        values: list[int] = np.frombuffer(self.data, f"<u{_WORDS.get(self.type, 1)}").tolist()
        return values


Directory = Mapping[int, Tag]


@dataclass(frozen=True)
class Layout:
    """Byte order and width of the numbers of a file."""

    order: str = "<"
    big: bool = False

    @property
    def word(self) -> int:
        """Bytes of an offset."""
        return 8 if self.big else 4

    def number(self, data: bytes) -> int:
        """Return an unsigned number."""
        return int.from_bytes(data, "little" if self.order == "<" else "big")


def layout_of(head: bytes) -> Layout | None:
    """Return the layout of a file from its first bytes; None if it is no TIFF."""
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    magic = None if order is None else Layout(order).number(head[2:4])
    return Layout(order, magic == 43) if order is not None and magic in (42, 43) else None


def read_directories(read: Read) -> list[Directory]:
    """Return the chain of directories of a TIFF file or an EXIF block; what is damaged is left out."""
    layout = layout_of(read(0, 4))
    found: list[Directory] = []
    if layout is None:
        return found
    at, seen = 8 if layout.big else 4, set[int]()
    while len(found) < _MOST_PAGES:
        start = layout.number(read(at, layout.word))
        if start == 0 or start in seen:
            break
        seen.add(start)
        directory, at = _read_directory(read, layout, start, 0)
        if directory is None:
            break
        found.append(directory)
    return found


def sub_directories(read: Read, starts: Iterable[int]) -> list[Directory]:
    """Return the directories at some places of a file; what is damaged is left out."""
    layout = layout_of(read(0, 4))
    found = [] if layout is None else [_read_directory(read, layout, start, 0)[0] for start in starts]
    return [directory for directory in found if directory is not None]


def is_cut_off(read: Read, size: int) -> bool:
    """Tell whether a directory of a TIFF file of `size` bytes lies beyond its end: libtiff takes the rest for the whole."""
    layout = layout_of(read(0, 4))
    if layout is None:
        return False
    width, at, seen = 8 if layout.big else 2, 8 if layout.big else 4, set[int]()
    while (start := layout.number(read(at, layout.word))) and start not in seen and len(seen) < _MOST_PAGES:
        seen.add(start)
        at = start + width + layout.number(read(start, width)) * (4 + 2 * layout.word)
        if at + layout.word > size:
            return True
    return False


def _read_directory(read: Read, layout: Layout, start: int, depth: int) -> tuple[Directory | None, int]:
    """Return a directory and the place of the offset of the next."""
    width = 8 if layout.big else 2
    size = 4 + 2 * layout.word
    head = read(start, width)
    count = layout.number(head)
    entries = read(start + width, count * size) if len(head) == width and count <= _MOST_TAGS else b""
    if not count or len(entries) < count * size:
        return None, 0
    tags = {}
    for entry in (entries[place : place + size] for place in range(0, len(entries), size)):
        number = layout.number(entry[:2])
        tag = _read_tag(read, layout, start + width, number, entry, depth)
        if tag is not None:
            tags[number] = tag
    return tags, start + width + count * size


def _read_tag(read: Read, layout: Layout, start: int, number: int, entry: bytes, depth: int) -> Tag | None:
    kind, count = layout.number(entry[2:4]), layout.number(entry[4 : 4 + layout.word])
    size = _SIZES.get(kind, 0) * count
    if not 0 < size <= _MOST_BYTES:
        return None
    inline = entry[4 + layout.word :]
    offset = layout.number(inline)
    if number in _POINTERS:
        directory = None if depth > 1 else _read_directory(read, layout, offset, depth + 1)[0]
        return None if directory is None else Tag(kind, 1, b"", offset, directory)
    data = inline[:size] if size <= layout.word else read(offset, size)
    if len(data) < size:
        return None
    word = _WORDS.get(kind, 1)
    if layout.order == ">" and word > 1:
        data = np.frombuffer(data, f">u{word}").astype(f"<u{word}").tobytes()
    return Tag(kind, count, data, offset)


def pack_directory(directory: Directory, at: int, big: bool = False) -> tuple[bytes, int]:
    """Return a directory as the bytes that stand `at` a place of a little-endian file, with all that it points to.

    The second value is the place, in the file, of the offset of the next directory, which is 0.
    """
    layout = Layout(big=big)
    word, number = layout.word, "<Q" if big else "<I"
    head = (8 if big else 2) + len(directory) * (4 + 2 * word)
    entries, body = bytearray(struct.pack("<Q" if big else "<H", len(directory))), bytearray()
    for name in sorted(directory):
        tag = directory[name]
        data, kind, count = tag.data, tag.type, tag.count
        body += b"\0" * (len(body) % 2)
        place = at + head + word + len(body)
        if tag.directory is not None:
            body += pack_directory(tag.directory, place, big)[0]
            kind, count, data = (18 if big else 4), 1, struct.pack(number, place)
        elif len(data) > word:
            body += data
            data = struct.pack(number, place)
        entries += struct.pack("<HH", name, kind) + struct.pack(number, count) + data.ljust(word, b"\0")
    return bytes(entries + bytes(word) + body), at + head


def short(*values: int) -> Tag:
    """Return a tag of 16-bit numbers."""
    return Tag(3, len(values), struct.pack(f"<{len(values)}H", *values))
