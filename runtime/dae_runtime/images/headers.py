"""Headers of image files: the kind and the compression, which libvips does not report."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ImageError

Read = Callable[[int, int], bytes]
"""Reads the file: (offset, count) to at most `count` bytes."""

DEFLATE_RATIO = 1032
"""Largest compression ratio of deflate: https://zlib.net/zlib_tech.html"""
_PNG = b"\x89PNG\r\n\x1a\n"
_SIGNATURES = (
    (_PNG, "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
    (b"P5", "pnm"),
    (b"P6", "pnm"),
    (b"BM", "bmp"),
    (b"GIF8", "gif"),
)
_HEIF = (b"avif", b"avis", b"mif1", b"msf1", b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis")
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_MAX_CHUNKS = 10_000
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""What ends the compressed data of a JPEG's scan."""
_PART_BYTES = 2**16
_START_OF_FRAME = tuple(marker for marker in range(0xC0, 0xD0) if marker not in (0xC4, 0xC8, 0xCC))

# The luminance table of ITU T.81, annex K.1, in zigzag order; libjpeg scales it for qualities 1 to 100.
_LUMINANCE = np.array(
    (
        "16 11 12 14 12 10 16 14 13 14 18 17 16 19 24 40 26 24 22 22 24 49 35 37 29 40 58 51 61 60 57 51 56 55 64 72 92 78 64 "
        "68 87 69 55 56 80 109 81 87 95 98 103 104 103 62 77 113 121 112 100 120 92 101 103 99"
    ).split(),
    np.int64,
)


def sniff(head: bytes) -> str:
    """Return the kind of an image file: png, jpeg, tiff, webp, avif, heic, bmp, pnm or gif.

    Args:
        head: At least its first 16 bytes.

    Raises:
        ImageError: The file is of another kind, or empty.
    """
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF:
        return "avif" if is_avif(head) else "heic"
    if not head:
        raise ImageError("the file is empty")
    raise ImageError(
        "the content is no PNG, JPEG, TIFF, WebP, AVIF, HEIC, BMP, GIF, binary PGM or PPM image; convert it to PNG"
    )


def is_avif(head: bytes) -> bool:
    """Tell by the brands of a HEIF file whether its pixels are AV1."""
    length = min(int.from_bytes(head[:4], "big"), len(head))
    return any(head[at : at + 4] in (b"avif", b"avis") for at in (8, *range(16, length, 4)))


def check_png(read: Read, size: int) -> None:
    """Raise ImageError for an animated PNG, and for one whose data cannot hold the pixels of its header."""
    header = read(16, 10)
    if len(header) < 10:
        raise ImageError("the PNG header is truncated")
    width, height, depth = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big"), header[8]
    row_bytes = (width * depth * _PNG_CHANNELS.get(header[9], 1) + 7) // 8 + 1
    if row_bytes * height > DEFLATE_RATIO * size:
        raise ImageError(f"the header promises {width} x {height} pixels, which {size} bytes of PNG cannot hold")
    for name, _, _ in png_chunks(read):
        if name == b"acTL":
            raise ImageError("the file is an animated PNG, whose frames cannot be read; split it into single images")
        if name == b"IDAT":
            return


def png_damage(read: Read, size: int) -> str:
    """Return what is wrong with a PNG that cannot be decoded; libvips reports it to the log, without the file's name."""
    for name, offset, length in png_chunks(read):
        text = name.decode("ascii", "replace")
        if offset + length + 4 > size:
            return f"the file ends within its chunk {text}"
        if zlib.crc32(name + read(offset, length)) != int.from_bytes(read(offset + length, 4), "big"):
            return f"the checksum of its chunk {text} is wrong"
        if name == b"IEND":
            return "its compressed pixels are damaged or too few"
    return "the file ends before its chunk IEND"


def compression(kind: str, read: Read) -> dict[str, Any]:
    """Return the compression of a file as options for libvips' saver.

    For JPEG the quality, if it can be estimated, and the chroma subsampling; for WebP whether it is lossless, including the
    colors of transparent pixels.
    """
    if kind == "jpeg":
        quality = jpeg_quality(read)
        sampling = {"subsample_mode": "on" if _halves_chroma(read) else "off"}
        return sampling if quality is None else {"Q": quality, **sampling}
    return {"lossless": True, "exact": True} if kind == "webp" and _is_lossless_webp(read) else {}


def jpeg_quality(read: Read) -> int | None:
    """Estimate a JPEG's quality, 1 to 100, by the nearest luminance table of libjpeg. None without a table."""
    for marker, offset, length in jpeg_segments(read):
        if marker == 0xDB:
            for number, table in _quantization_tables(read(offset, length)):
                if number == 0:
                    return 1 + int(np.argmin(np.abs(_libjpeg_tables() - table).sum(axis=1)))
    return None


def has_more_images(kind: str, read: Read) -> bool:
    """Tell whether a JPEG has an index of further images: previews, a gain map, another view.

    Source: CIPA DC-007, Multi-Picture Format.
    """
    return kind == "jpeg" and any(marker == 0xE2 and read(offset, 4) == b"MPF\0" for marker, offset, _ in jpeg_segments(read))


def _quantization_tables(segment: bytes) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """Yield number and 64 values of each whole table of a DQT segment."""
    offset = 0
    while offset < len(segment):
        wide, number = segment[offset] >> 4, segment[offset] & 15
        size = 64 * (2 if wide else 1)
        values = segment[offset + 1 : offset + 1 + size]
        if len(values) < size:
            return
        yield number, np.frombuffer(values, ">u2" if wide else "u1").astype(np.int64)
        offset += 1 + size


def _halves_chroma(read: Read) -> bool:
    """Tell whether a JPEG halves the chroma in both directions (4:2:0)."""
    for marker, offset, length in jpeg_segments(read):
        if marker in _START_OF_FRAME:
            factors = [(value >> 4, value & 15) for value in read(offset, length)[7::3]]
            return len(factors) > 1 and all(first >= 2 * second for first, second in zip(*factors[:2], strict=True))
    return False


def _libjpeg_tables() -> npt.NDArray[np.int64]:
    quality = np.arange(1, 101)[:, None]
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    tables: npt.NDArray[np.int64] = np.clip((_LUMINANCE * scale + 50) // 100, 1, 255)
    return tables


def jpeg_segments(read: Read) -> Iterator[tuple[int, int, int]]:
    """Yield marker, offset and length of each segment's content, up to the compressed data."""
    offset = 2
    for _ in range(_MAX_CHUNKS):
        head = read(offset, 4)
        if len(head) < 4 or head[0] != 0xFF or head[1] == 0xDA:
            return
        if head[1] == 0xFF:  # a fill byte
            offset += 1
            continue
        length = int.from_bytes(head[2:], "big")
        if length < 3:
            return
        yield head[1], offset + 4, length - 2
        offset += 2 + length


def jpeg_end(read: Read) -> int | None:
    """Return the offset behind the end of a JPEG's first image; None where there is no end."""
    offset = 2
    for _, start, length in jpeg_segments(read):
        offset = start + length
    for _ in range(_MAX_CHUNKS):  # segments and scans
        while (found := _MARKER.search(part := read(offset, _PART_BYTES))) is None:
            if len(part) < _PART_BYTES:
                return None
            offset += len(part) - 1  # a marker may lie across
        offset += found.start()
        if found[0][1] == 0xD9:
            return offset + 2
        offset += 2 + int.from_bytes(read(offset + 2, 2), "big")
    return None


def png_chunks(read: Read) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, offset and length of each chunk's content."""
    offset = len(_PNG)
    while len(head := read(offset, 8)) == 8:
        length = int.from_bytes(head[:4], "big")
        yield head[4:], offset + 8, length
        offset += 12 + length


def webp_chunks(read: Read) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, offset and length of each chunk's content."""
    offset = 12
    while len(head := read(offset, 8)) == 8:
        length = int.from_bytes(head[4:], "little")
        yield head[:4], offset + 8, length
        offset += 8 + length + length % 2


def _is_lossless_webp(read: Read) -> bool:
    offset = 12
    for _ in range(_MAX_CHUNKS):
        head = read(offset, 8)
        if len(head) < 8 or head[:4] in (b"VP8L", b"VP8 "):
            return head[:4] == b"VP8L"
        if head[:4] == b"ANMF":
            offset += 8 + 16  # the frame's own chunks follow its position, size and duration
        else:
            length = int.from_bytes(head[4:], "little")
            offset += 8 + length + length % 2
    return False
