"""Decode and encode image files. The first bytes of a file choose its reader."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from types import MappingProxyType
from typing import Any, cast

import numpy as np

from ..errors import ImageError
from ..pixels.arrays import convert
from ..system.bounds import MOST_PIXELS, check_whole
from .accepted import BYTES, check_holds, check_kind, check_size
from .bmp import bmp_size, decode_bmp, encode_bmp
from .headers import Read, check_png, compression, has_more_images, png_damage, sniff
from .heic import decode_heic
from .metadata import fit_to, for_kind, missing, orientation, read_metadata
from .pages import common_form, form_of, widen
from .pnm import Pixels, comments_in, decode_pnm, encode_pnm, pnm_size
from .ranges import MAPPED, RANGE, Range, from_unit, to_unit
from .raw import BYTES_PER_PIXEL, develop, is_raw
from .savers import ATTEMPTS, COMPRESSION, FORMS, output, save
from .tags import is_cut_off
from .tiff import page_sizes
from .vips import is_lost, no_fork, open_image, open_source, reading_reason, upright, use_vips

MAX_PIXELS = 2**29
"""Default limit: a header may announce any size without data."""
KINDS_OF_8_BITS = ("jpeg", "webp", "bmp")
"""Kinds of file limited to 8 bits per channel."""

_HEAD_BYTES = 65536
_PORTABLE_MAPS = ("pnm", "pgm", "ppm")


@dataclass(frozen=True, eq=False)
class Decoded:
    """The content of an image file."""

    pixels: Pixels
    """(H, W) or (H, W, C), C being 3 or, with alpha last, 2 or 4; uint8, uint16, or float32 of 0..1 by a stated range. Pages
    are stacked vertically."""
    kind: str
    """`png`, `jpeg`, `tiff`, `webp`, `avif`, `bmp`, `pnm`, `gif`, `heic` or `raw`."""
    pages: int = 1
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Metadata for `encode`."""
    has_more_images: bool = False
    """Whether the file holds more images, which are not read, as in many JPEGs of cameras and phones."""


def decode(
    source: bytes | int,
    max_pixels: int = MAX_PIXELS,
    before_allocate: Callable[[int], None] | None = None,
    value_range: Range | None = None,
    raw: bool = False,
) -> Decoded:
    """Decode an image file.

    Args:
        source: The whole content of a PNG, JPEG, TIFF, WebP, AVIF, BMP, PGM, PPM, HEIC or still GIF file, or of camera raw, or
            the descriptor of such a file.
        max_pixels: Images with more pixels over all pages are rejected before allocation.
        before_allocate: Called with the bytes of the pixels before allocation; may block or raise.
        value_range: Values of black and white of TIFFs with float or signed pixels, which become float32 of 0..1. None
            refuses them.
        raw: Take the content for camera raw whatever it looks like, as its name says so.

    Raises:
        ImageError: The data is not such a file, is damaged or truncated, or of an unsupported kind (CMYK, animated GIF); or
            the process that does it in a forked child (`aside`) cannot be started, or ended meanwhile.
        InputError: `max_pixels` is no whole number from 0 to 10**11.
        MissingDependencyError: pyvips is not installed.
        OSError: The file cannot be read.
    """
    check_whole("max_pixels", max_pixels, 0, MOST_PIXELS)
    read, size = _reader(source)
    head = read(0, _HEAD_BYTES)
    kind = "raw" if raw or is_raw(read) else sniff(head)
    if kind in ("pnm", "bmp"):
        return _decode_plain(kind, read, size, max_pixels, before_allocate)
    if is_lost():
        with no_fork():
            from .aside import decode_aside
        return cast("Decoded", decode_aside(source, max_pixels, before_allocate, value_range, raw))
    if kind in ("raw", "heic"):
        return _decode_camera(kind, read, size, max_pixels, before_allocate)
    if kind == "png":
        check_png(read, size)
    if kind == "tiff" and is_cut_off(read, size):
        raise ImageError("the TIFF data is damaged or truncated (a directory lies beyond the end of the file)")
    with use_vips() as vips:
        for _ in range(ATTEMPTS):
            try:
                return _decode_by_vips(vips, kind, source, read, max_pixels, before_allocate, value_range)
            except vips.Error as error:
                failure, reason, before_allocate = error, reading_reason(str(error), kind), None
            if reason is None and kind == "png":
                reason = png_damage(read, size)
            if reason is not None:
                break
        reason = reason or "the image library reports no reason"
        what = "is of a kind that is not supported" if "Unsupported" in reason else "is damaged or truncated"
        raise ImageError(f"the {kind.upper()} data {what} ({reason})") from failure


def _decode_by_vips(
    vips: Any,
    kind: str,
    source: bytes | int,
    read: Read,
    max_pixels: int,
    before_allocate: Callable[[int], None] | None,
    value_range: Range | None,
) -> Decoded:
    content = open_source(vips, kind, source, read)  # owns the bytes: kept until the pixels are decoded
    image = open_image(vips, kind, content)
    if image is None:
        return _decode_pages(vips, source, read, max_pixels, before_allocate)
    pages = image.get("n-pages") if image.get_typeof("n-pages") else 1
    if kind == "gif" and pages > 1:
        raise ImageError("the file is an animated GIF; split it into single images, or convert it to WebP")
    has_more, pages = has_more_images(kind, read) or (kind == "avif" and pages > 1), 1 if kind == "avif" else pages
    is_mapped = kind == "tiff" and value_range is not None and image.format in MAPPED
    check_kind(image, is_mapped)
    check_size(image.height, image.width, max_pixels)
    if before_allocate is not None:
        before_allocate(image.width * image.height * image.bands * BYTES.get(image.format, 8))
    metadata = read_metadata(kind, read)
    image = upright(vips, image, pages, orientation(metadata, image))
    shape = (image.height, image.width) if image.bands == 1 else (image.height, image.width, image.bands)
    name, pixels = image.format, image.numpy().reshape(shape)
    del content
    options = {"bitdepth": image.get("bits-per-sample")} if kind == "avif" else compression(kind, read)
    metadata = fit_to(metadata, image.width, image.height // pages) | {COMPRESSION: (kind, options)}
    if kind == "gif" and pixels.shape[-1] == 4 and pixels[..., 3].min() == 255:  # no pixel uses its transparent color
        pixels = np.ascontiguousarray(pixels[..., :3])
    if is_mapped and value_range is not None:
        pixels, metadata[RANGE] = to_unit(pixels, value_range), (*value_range, name)
    return Decoded(pixels, kind, pages, MappingProxyType(metadata), has_more)


def _decode_pages(
    vips: Any, source: bytes | int, read: Read, max_pixels: int, before_allocate: Callable[[int], None] | None
) -> Decoded:
    """Decode a TIFF whose pages differ in size, depth, channels or orientation; raises vips.Error."""
    sizes = page_sizes(read)
    height, width = (max(lengths) for lengths in zip(*sizes, strict=True))
    check_size(len(sizes) * height, width, max_pixels)
    if before_allocate is not None:
        before_allocate(len(sizes) * height * width * 8)
    pages = []
    for number in range(len(sizes)):
        content = open_source(vips, "tiff", source, read)
        page = open_image(vips, "tiff", content, number)
        check_kind(page)
        page = upright(vips, page, 1, orientation({}, page))
        pages.append(page.numpy().reshape(page.height, page.width, page.bands))
    forms = [form_of(page) for page in pages]
    common = common_form(forms)
    pixels = np.concatenate([widen(page, common) for page in pages])
    metadata = fit_to(read_metadata("tiff", read), width, height) | {COMPRESSION: ("tiff", {}), FORMS: tuple(forms)}
    return Decoded(pixels[..., 0] if common.channels == 1 else pixels, "tiff", len(pages), MappingProxyType(metadata))


def encode(
    pixels: Pixels,
    kind: str,
    metadata: Mapping[str, Any] = MappingProxyType({}),
    *,
    pages: int = 1,
    target: int | None = None,
    quality: int | None = None,
) -> bytes:
    """Encode an image.

    Args:
        pixels: (H, W) or (H, W, C) as `decode` returns them. For JPEG, WebP and BMP, uint16 is rounded to 8 bits.
        kind: `png`, `jpeg`, `tiff`, `webp`, `avif`, `bmp`, `pgm` (gray), `ppm` (gray becomes RGB), or `pnm`: PGM or PPM by the
            channels of the pixels.
        metadata: From `decode`: color profile, EXIF, XMP, resolution, frame times of an animation, the compression and all
            other parts, kept for the same kind. Each kind stores what it can hold; `lost_metadata` names the rest. A
            resolution outside 0 to a million pixels per inch is dropped.
        pages: Number of pages stacked in `pixels`.
        target: Descriptor of a file to write to, open for reading and writing; None to return the content.
        quality: Of JPEG, AVIF and lossy WebP, 1 to 100; None for that of a JPEG source, else 95, or 90 for AVIF.

    Returns:
        The content of the file; empty with a target.

    Raises:
        ImageError: The format cannot hold the image, or the file cannot be written to; or as for `decode` in a forked child.
        OSError: The file cannot be written to.
        MissingDependencyError: pyvips is not installed.
    """
    check_holds(pixels, kind, pages, metadata)
    is_plain = kind in (*_PORTABLE_MAPS, "bmp")
    if not is_plain and is_lost():
        with no_fork():
            from .aside import encode_aside
        return encode_aside(pixels, kind, metadata, pages, target, quality)
    if kind in KINDS_OF_8_BITS:
        pixels = convert(pixels, np.uint8)
    if pixels.dtype == np.float32:
        pixels = from_unit(pixels, metadata[RANGE])
    metadata = for_kind(metadata, kind)
    with output(target) as file:
        if is_plain:
            file.write(encode_bmp(pixels, metadata) if kind == "bmp" else encode_pnm(pixels, kind))
        else:
            save(file, pixels, kind, metadata, pages, target, quality)
        return b"" if target is not None else cast("BytesIO", file).getvalue()


def lost_metadata(metadata: Mapping[str, Any], kind: str, output: bytes | int) -> tuple[str, ...]:
    """Return what people call the metadata of a source that its output, of a kind, does not have: `EXIF`, `thumbnail`.

    Args:
        metadata: From `decode`, of the source.
        kind: As for `encode`.
        output: The content of the file, or its descriptor.
    """
    if kind == "avif" and is_lost():
        with no_fork():
            from .aside import lost_metadata_aside
        return lost_metadata_aside(metadata, kind, output)
    return missing(metadata, kind, _reader(output)[0])


def _reader(source: bytes | int) -> tuple[Read, int]:
    """Return a function that reads parts of the source, and the size of the source."""
    if isinstance(source, int):
        size = os.fstat(source).st_size  # offsets in damaged files may be too large for the system call
        return lambda offset, count: _read_fully(source, offset, count) if offset < size else b"", size
    return lambda offset, count: source[offset : offset + count], len(source)


def _read_fully(descriptor: int, offset: int, count: int) -> bytes:
    """Read up to `count` bytes; a single system call reads less than 2 GiB."""
    parts = []
    while count and (part := os.pread(descriptor, count, offset)):
        parts.append(part)
        offset += len(part)
        count -= len(part)
    return b"".join(parts)


def _decode_camera(
    kind: str, read: Read, size: int, max_pixels: int, before_allocate: Callable[[int], None] | None
) -> Decoded:
    """Decode the kinds of cameras and phones that need a package of their own."""
    bytes_per_pixel = BYTES_PER_PIXEL if kind == "raw" else 8

    def allocate(height: int, width: int) -> None:
        check_size(height, width, max_pixels)
        if before_allocate is not None:
            before_allocate(height * width * bytes_per_pixel)

    has_more = False
    if kind == "raw":
        pixels, metadata = develop(read, size, allocate)
    else:
        pixels, metadata, has_more = decode_heic(read, size, allocate)
    return Decoded(pixels, kind, 1, MappingProxyType(fit_to(metadata, pixels.shape[1], pixels.shape[0])), has_more)


def _decode_plain(kind: str, read: Read, size: int, max_pixels: int, before_allocate: Callable[[int], None] | None) -> Decoded:
    """Decode the kinds that need no image library."""
    height, width = (pnm_size if kind == "pnm" else bmp_size)(read(0, _HEAD_BYTES))
    check_size(height, width, max_pixels)
    if before_allocate is not None:
        before_allocate(2 * size)
    data = read(0, size)
    pixels, metadata = (decode_pnm(data), comments_in(data)) if kind == "pnm" else decode_bmp(data)
    return Decoded(pixels, kind, 1, metadata)
