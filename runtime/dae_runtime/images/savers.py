"""Encoding of PNG, JPEG, TIFF, WebP and AVIF, pixels by libvips and all else by us."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from typing import Any, BinaryIO

from ..errors import ImageError
from .avif import encode_avif
from .jpeg import jpeg_parts, spliced_jpeg
from .pages import narrow
from .png import HEAD_BYTES, png_parts, spliced_png
from .pnm import Pixels
from .tiff import empty_tiff, finish_tiff
from .vips import Spliced, to_vips, use_vips, writing_reason
from .webp import with_parts

LOWEST_QUALITY = 75
"""Lower bound of a JPEG's kept quality, so that block artifacts do not return."""

_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "png": {"compression": 1},  # level 6 takes five times as long and saves 10 %
    "jpeg": {"Q": 95},
    "tiff": {"compression": "lzw", "predictor": "horizontal"},
    "webp": {"Q": 95},
    "avif": {"Q": 90, "effort": 1},  # effort 4 takes thirty times as long and saves nothing
}
ATTEMPTS = 5
"""Most calls of libvips for an image whose error text other threads have taken."""
COMPRESSION = "compression"
"""Metadata key of the file's own compression: kind and options."""
FORMS = "page-forms"
"""Metadata key of the forms of pages that differ."""


def save(
    file: BinaryIO,
    pixels: Pixels,
    kind: str,
    metadata: Mapping[str, Any],
    pages: int,
    target: int | None,
    quality: int | None = None,
) -> None:
    """Write the kinds that need the image library."""
    options = _save_options(pixels, kind, metadata, quality)
    with use_vips() as vips:
        for _ in range(ATTEMPTS):
            try:
                _encode(vips, file, pixels, kind, metadata, pages, options, target)
                return
            except vips.Error as error:
                failure, reason = error, writing_reason(str(error), kind)
            if reason is not None or not _emptied(file):
                break
        reason = reason or "the image library reports no reason"
        raise ImageError(f"cannot write {pixels.shape} {pixels.dtype} as {kind.upper()} ({reason})") from failure


def _emptied(file: BinaryIO) -> bool:
    """Empty a file to write it again; false for a device or a pipe."""
    try:
        file.seek(0)
        file.truncate()
    except OSError:
        return False
    return True


def _encode(
    vips: Any,
    file: BinaryIO,
    pixels: Pixels,
    kind: str,
    metadata: Mapping[str, Any],
    pages: int,
    options: dict[str, Any],
    target: int | None,
) -> None:
    if kind == "tiff":
        _encode_tiff(vips, file, pixels, metadata, pages, options, target)
    elif kind == "avif":
        file.write(encode_avif(to_vips(vips, pixels, {}), metadata, vips.GValue.blob_type, options))
    elif kind == "webp":
        content = to_vips(vips, pixels, metadata, pages).webpsave_buffer(**options)
        file.write(with_parts(bytes(content), metadata, pixels.shape[1], pixels.shape[0] // pages))
    else:
        spliced = Spliced(vips, file.write, _splice(kind, metadata))
        try:
            getattr(to_vips(vips, pixels, metadata), f"{kind}save_target")(spliced.target, **options)
        finally:
            if spliced.error is not None:
                raise spliced.error


def _splice(kind: str, metadata: Mapping[str, Any]) -> Callable[[bytes], bytes | None]:
    """Return what puts metadata into the head of a PNG or JPEG."""
    if kind == "jpeg":
        return lambda head: spliced_jpeg(head, jpeg_parts(metadata))
    return lambda head: None if len(head) < HEAD_BYTES else spliced_png(head, png_parts(metadata, head[24:26]))


def _encode_tiff(
    vips: Any,
    file: BinaryIO,
    pixels: Pixels,
    metadata: Mapping[str, Any],
    pages: int,
    options: dict[str, Any],
    target: int | None,
) -> None:
    if pages == 1 and target is not None:  # not through memory: the image may be large
        to_vips(vips, pixels, {}).tiffsave_target(vips.Target.new_to_descriptor(target), **options)
        finish_tiff(file, [0], metadata)
        return
    if pages > 1:
        file.write(empty_tiff(options.get("bigtiff", False)))
    starts = []
    for number, page in enumerate(pixels.reshape(pages, -1, *pixels.shape[1:])):
        if FORMS in metadata:
            form = metadata[FORMS][number]
            page = narrow(page.reshape(*page.shape[:2], -1), form)
        starts.append(file.tell())
        data = bytes(to_vips(vips, page, {}).tiffsave_buffer(**options))
        file.write(data + b"\0" * (len(data) % 2))
    finish_tiff(file, starts, metadata)


@contextlib.contextmanager
def output(target: int | None) -> Iterator[BinaryIO]:
    """Return the file of a descriptor, or memory."""
    if target is None:
        yield BytesIO()
        return
    with open(target, "r+b", closefd=False) as file:
        yield file


def _save_options(pixels: Pixels, kind: str, metadata: Mapping[str, Any], quality: int | None) -> dict[str, Any]:
    source, options = metadata.get(COMPRESSION, ("", {}))
    options = {**_SAVE_OPTIONS[kind], "keep": "none", **(options if kind == source else {})}
    if kind == source == "jpeg":
        options["Q"] = max(options["Q"], LOWEST_QUALITY)
    if quality is not None and "Q" in options and not options.get("lossless"):
        options["Q"] = quality
    if kind == "tiff" and pixels.nbytes > 2**31:
        options["bigtiff"] = True
    return options
