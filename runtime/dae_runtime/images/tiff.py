"""Tags of TIFF files beside the pixels, and files of several pages."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from .exif import DESCRIPTIVE, from_tags, orientation_in, resolution_of, to_tags
from .headers import Read
from .tags import Directory, Layout, Tag, layout_of, pack_directory, read_directories, short

_ICC, _XMP, _IPTC, _PHOTOSHOP = 34675, 700, 33723, 34377
_BLOBS = {"icc-profile-data": _ICC, "xmp-data": _XMP, "iptc-data": _PHOTOSHOP}
_RESOLUTION = (282, 283, 296)
_STRIPS, _TILES = 273, 324
_OF_PIXELS = {
    *range(255, 269),
    *(273, 274, 277, 278, 279, 280, 281, 284, 288, 289, 290, 291, 292, 293, 301, 317, 320),
    *range(322, 338),
    *(338, 339, 340, 341, 342, 346, 347, 400, 433, 434, 435, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530),
    *(531, 532, 559, 37724),
}
"""Tags that say how pixels are stored, or hold more of them: the encoder writes its own."""
_LOST = {330: "further images", 37724: "Photoshop layers", 301: "transfer function", 290: "gray response"}
_KEPT_ELSEWHERE = {*DESCRIPTIVE, *_RESOLUTION, *_BLOBS.values(), _IPTC, 254, 274, 297}
"""Tags that other kinds of file hold in their own way, or that only number pages."""


def read_tiff(read: Read) -> dict[str, Any]:
    """Return the metadata of a TIFF: profile, EXIF, XMP, IPTC, resolution, and the other tags of each page."""
    pages = read_directories(read)
    if not pages:
        return {}
    first = pages[0]
    found: dict[str, Any] = resolution_of(first)
    found |= {name: first[number].data for name, number in _BLOBS.items() if number in first}
    if _IPTC in first and _PHOTOSHOP not in first:
        found["iptc-data"] = _as_resource(first[_IPTC].data)
    exif = from_tags(first)
    if exif is not None:
        found["exif-data"] = exif
    tags = tuple({number: tag for number, tag in page.items() if number not in _OF_PIXELS} for page in pages)
    lost = {name for number, name in _LOST.items() if any(number in page for page in pages)}
    return {**found, "lost": frozenset(lost), "native": ("tiff", tags)}


def names_of(pages: tuple[Directory, ...]) -> set[str | None]:
    """Return what people call the tags of pages beside those that other kinds of file hold, too."""
    names: set[str | None] = {"other TIFF tags" for page in pages if page.keys() - _KEPT_ELSEWHERE}
    ratios = [page[number].values[:2] for page in pages for number in _RESOLUTION[:2] if number in page]
    return names | {"resolution" for ratio in ratios if ratio != [1, 1]}


def page_sizes(read: Read) -> list[tuple[int, int]]:
    """Return height and width of each page, upright."""
    sizes = []
    for page in read_directories(read):
        width, height = (page[number].values[0] if number in page else 0 for number in (256, 257))
        sizes.append((width, height) if orientation_in(page) > 4 else (height, width))
    return sizes


def empty_tiff(big: bool) -> bytes:
    """Return the header of a file whose pages follow."""
    return struct.pack("<2sHHHQ", b"II", 43, 8, 0, 0) if big else struct.pack("<2sHI", b"II", 42, 0)


def _as_resource(iptc: bytes) -> bytes:
    return b"8BIM\x04\x04\0\0" + struct.pack(">I", len(iptc)) + iptc + b"\0" * (len(iptc) % 2)


def finish_tiff(file: BinaryIO, starts: Sequence[int], metadata: Mapping[str, Any]) -> None:
    """Give the pages of a TIFF their tags, and chain them.

    Args:
        file: Little-endian, with a header that fits offsets as far as its end; may consist of several whole files.
        starts: Where each file of one page starts.
        metadata: From any format.
    """
    kind, native = metadata.get("native", ("", ()))
    if kind != "tiff" or len(native) != len(starts):
        native = ()

    def read(offset: int, count: int) -> bytes:
        file.seek(offset)
        return file.read(count)

    layout = layout_of(read(0, 4)) or Layout()
    pages = []
    for number, start in enumerate(starts):
        (page,) = read_directories(lambda offset, count: read(start + offset, count))  # noqa: B023
        pages.append(_with_tags(_moved(page, start, layout), metadata, native[number] if native else None, number == 0))
    link = 8 if layout.big else 4
    for page in pages:
        at = file.seek(0, 2)
        at += file.write(b"\0" * (at % 2))
        data, following = pack_directory(page, at, layout.big)
        file.write(data)
        file.seek(link)
        file.write(struct.pack("<Q" if layout.big else "<I", at))
        link = following


def _moved(page: Directory, start: int, layout: Layout) -> dict[int, Tag]:
    """Return a page whose file starts elsewhere."""
    tags = dict(page)
    for number in (_STRIPS, _TILES):
        if number in tags:
            offsets = np.array(tags[number].values, "<u8") + start
            form, kind = ("<u8", 16) if layout.big else ("<u4", 4)
            tags[number] = Tag(kind, tags[number].count, offsets.astype(form).tobytes())
    return tags


def _with_tags(page: dict[int, Tag], metadata: Mapping[str, Any], native: Directory | None, first: bool) -> Directory:
    """Return the directory of one page with the tags of the source's, or with those that metadata make."""
    for name in (*_RESOLUTION, 274):
        page.pop(name, None)
    if native is not None:
        page |= native
    else:
        page |= _resolution(metadata)
        page |= to_tags(metadata["exif-data"]) if "exif-data" in metadata else {}
    if first:
        page |= {
            tag: Tag(1 if tag == _XMP else 7, len(metadata[name]), metadata[name])
            for name, tag in _BLOBS.items()
            if name in metadata and (native is None or tag in native or tag != _PHOTOSHOP)
        }
    return page


def _resolution(metadata: Mapping[str, Any]) -> Directory:
    if "xres" not in metadata:
        return {}
    values = (min(round(metadata[name] * 25400), 2**32 - 1) for name in ("xres", "yres"))
    ratios = (Tag(5, 1, struct.pack("<2I", value, 1000)) for value in values)
    return {**dict(zip(_RESOLUTION, ratios, strict=False)), 296: short(2)}
