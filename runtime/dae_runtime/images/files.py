"""Find, read and write image files."""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import ImageError, OutputExistsError
from ..system.atomic import atomic_path
from ..system.bounds import MOST_PIXELS, check_whole
from ..system.paths import open_regular
from .codec import MAX_PIXELS, Decoded, decode, encode, lost_metadata
from .headers import sniff
from .names import RAW_SUFFIXES, kind_to_write
from .pnm import Pixels
from .ranges import RANGE, Range

logger = logging.getLogger(__name__)
_warned_multi_image = threading.Event()

_SNIFFED_BYTES = 64
_PART_BYTES = 2**20
_MOST_BYTES_PER_PIXEL, _MOST_METADATA_BYTES = 9, 2**26  # four channels of 16 bits, hardly compressed


@dataclass(frozen=True, eq=False)
class Image:
    """The content of an image file."""

    pixels: Pixels
    """(H, W), or (H, W, C) with C of 3 (RGB), or with alpha last 2 or 4; uint8, or uint16 for 16-bit files; upright."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Color profile, EXIF, XMP, texts, resolution, compression and other parts of the file, for the codec."""
    pages: int = 1
    """Pages of a TIFF or frames of a WebP, stacked vertically in `pixels`, all of equal height. Pages that differ are
    widened: mirrored at the right and the lower edge, gray as equal colors, 8 bits in 16; writing a TIFF gives them
    their own form."""
    kind: str = "png"
    """Kind of the source file: `png`, `jpeg`, `tiff`, `webp`, `avif`, `bmp`, `pnm`, `gif`, `heic` or `raw`."""

    @property
    def page_pixels(self) -> Pixels:
        """The pixels to denoise: several pages as a batch (pages, H, W, C), a single page as `pixels`."""
        if self.pages == 1:
            return self.pixels
        height, width = self.pixels.shape[:2]
        return self.pixels.reshape(self.pages, height // self.pages, width, -1)

    def with_pixels(self, pixels: Pixels) -> Image:
        """Return the image with other pixels, shaped like `pixels` or `page_pixels`."""
        return dataclasses.replace(self, pixels=pixels if self.pages == 1 else pixels.reshape(self.pixels.shape))


def read_image(
    path: str | os.PathLike[str],
    max_pixels: int = MAX_PIXELS,
    before_allocate: Callable[[int], None] | None = None,
    value_range: Range | None = None,
) -> Image:
    """Read a PNG, JPEG, TIFF, WebP, AVIF, BMP, PGM, PPM, HEIC or still GIF file, or camera raw, recognized by its content.

    8-bit files give uint8, 16-bit files uint16, palettes and 1-bit files become RGB(A) and 8-bit gray. The EXIF orientation
    is applied to each page. Camera raw, DNG too, is developed to 16 bits of sRGB with the camera's white balance, by rawpy.
    Of a JPEG with several images (a preview, a gain map, another view) the first is read; a warning
    is logged for the first such file of the process.

    Args:
        path: A regular file; pipes and devices are refused unopened. `decode` takes bytes from elsewhere.
        max_pixels: Images with more pixels over all pages are rejected before allocation.
        before_allocate: Called with the bytes of the pixels before allocation; may block or raise.
        value_range: Values of black and white of TIFFs with float or signed pixels, which become float32 of 0..1, and are
            written as they were; None refuses them.

    Raises:
        ImageError: The file cannot be read, is damaged, truncated, too large, or of an unsupported kind (CMYK, animated GIF).
        MissingDependencyError: pyvips is not installed.
    """
    try:
        with open_regular(path) as file:
            is_raw = Path(path).suffix.lower() in RAW_SUFFIXES
            decoded = decode(file.fileno(), max_pixels, before_allocate, value_range, is_raw)
    except OSError as error:
        raise ImageError(f"{os.fspath(path)}: cannot be read: {error.strerror or error}.") from error
    except ImageError as error:
        raise ImageError(f"{os.fspath(path)}: {error}.") from error
    return _image(decoded, os.fspath(path))


def read_image_bytes(
    name: str,
    content: bytes,
    max_pixels: int = MAX_PIXELS,
    before_allocate: Callable[[int], None] | None = None,
    value_range: Range | None = None,
) -> Image:
    """Read the content of an image file as `read_image` does; `name` is for its suffix and for messages.

    Raises:
        ImageError, MissingDependencyError: As `read_image`.
    """
    try:
        is_raw = Path(name).suffix.lower() in RAW_SUFFIXES
        return _image(decode(content, max_pixels, before_allocate, value_range, is_raw), name)
    except ImageError as error:
        raise ImageError(f"{name}: {error}.") from error


def _image(decoded: Decoded, name: str) -> Image:
    if decoded.has_more_images:
        warn_multi_image(name)
    return Image(decoded.pixels, decoded.metadata, decoded.pages, decoded.kind)


def most_bytes(max_pixels: int) -> int:
    """Return the most bytes that an image file of so many pixels may have."""
    return _MOST_BYTES_PER_PIXEL * max_pixels + _MOST_METADATA_BYTES


def read_stream(file: BinaryIO, max_pixels: int = MAX_PIXELS) -> bytes:
    """Read an image file from a stream, which may have no end.

    Args:
        file: Open for reading.
        max_pixels: As for `read_image`.

    Returns:
        Its content, or of anything else than an image file its start.

    Raises:
        ImageError: It is longer than any file of so many pixels.
        OSError: It cannot be read.
    """
    check_whole("max_pixels", max_pixels, 0, MOST_PIXELS)
    head = file.read(_SNIFFED_BYTES)
    try:
        sniff(head)
    except ImageError:  # `decode` says so
        return head
    limit = most_bytes(max_pixels)
    parts, size = [head], len(head)
    while part := file.read(min(_PART_BYTES, limit + 1 - size)):
        parts.append(part)
        size += len(part)
        if size > limit:
            raise ImageError(f"more than {limit} bytes are no image of up to {max_pixels / 1e6:.4g} megapixels")
    return b"".join(parts)


def warn_multi_image(name: str) -> None:
    """Log that only the first image of a file is kept; as a warning once per process."""
    level = logging.INFO if _warned_multi_image.is_set() else logging.WARNING
    _warned_multi_image.set()
    logger.log(
        level,
        "%s: holds several images, such as a preview or a gain map; only the first is kept, here and in similar files",
        name,
    )


def write_image(
    path: str | os.PathLike[str], image: Image, *, overwrite: bool = True, quality: int | None = None
) -> tuple[str, ...]:
    """Write an image file atomically, in the format of its suffix.

    From JPEG to JPEG the quality (estimated from the tables, at least 75) and 4:2:0 sampling are kept; other samplings become
    4:4:4. A lossless WebP stays lossless; other JPEG and WebP files get quality 95, AVIF 90. All other formats are lossless.
    16-bit pixels are rounded to 8 bits for JPEG, WebP and BMP, and for AVIF to 12, or to the bits of an AVIF source. A PGM
    holds gray only; in a PPM gray becomes RGB.

    Metadata are kept where the format holds them: color profile, EXIF (also that of a TIFF's tags), XMP, IPTC, resolution;
    frame times; within a format all other chunks, segments and tags. Thumbnails, which show the noisy picture, and further
    images of a JPEG are never kept. docs/formats.md has a table.

    Args:
        path: The output; its folder must exist.
        image: `pixels` of uint8 or uint16, (H, W) or (H, W, C) with C from 1 to 4.
        overwrite: Whether to replace an existing file.
        quality: Of JPEG, AVIF and lossy WebP instead, 1 to 100.

    Returns:
        What people call the metadata of the source that the file does not have, such as `EXIF` or `thumbnail`.

    Raises:
        OutputExistsError: The file exists and `overwrite` is false.
        ImageError: The suffix is unknown, the format cannot hold the image, or the file cannot be written.
        MissingDependencyError: pyvips is not installed.
    """
    return save_image(path, image, overwrite=overwrite, quality=quality)


def save_image(
    path: str | os.PathLike[str],
    image: Image,
    *,
    overwrite: bool | Callable[[], bool] = True,
    before_move: Callable[[Path], None] | None = None,
    quality: int | None = None,
) -> tuple[str, ...]:
    """Write an image file as `write_image` does.

    Args:
        path: The output; its folder must exist.
        image: As for `write_image`.
        overwrite: As for `atomic_path`.
        before_move: As for `atomic_path`.
        quality: As for `write_image`.

    Raises:
        OutputExistsError, ImageError, MissingDependencyError: As `write_image`.
    """
    name = os.fspath(path)
    if not isinstance(image, Image):
        raise ImageError(f"{name}: expected an Image, received {type(image).__name__}. Write Image(pixels) for an array.")
    pixels = _check_pixels(image.pixels, RANGE in image.metadata)
    try:
        kind = kind_to_write(path)
        unfinished = atomic_path(path, overwrite=overwrite, before_move=before_move)
        with unfinished as temporary, temporary.open("r+b", buffering=0) as file:
            encode(pixels, kind, image.metadata, pages=image.pages, target=file.fileno(), quality=quality)
            return lost_metadata(image.metadata, kind, file.fileno())
    except FileExistsError as error:
        raise OutputExistsError(f"{name}: exists. Give another output, or allow overwriting.") from error
    except OSError as error:
        raise ImageError(f"{name}: cannot be written: {error.strerror or error}.") from error
    except ImageError as error:
        raise ImageError(f"{name}: {error}.") from error


def image_bytes(name: str, image: Image, quality: int | None = None) -> tuple[bytes, tuple[str, ...]]:
    """Return the content of the file that `write_image` would write under a name, and the metadata that it does not have.

    Raises:
        ImageError, MissingDependencyError: As `write_image`.
    """
    pixels = _check_pixels(image.pixels, RANGE in image.metadata)
    try:
        kind = kind_to_write(name)
        content = encode(pixels, kind, image.metadata, pages=image.pages, quality=quality)
        return content, lost_metadata(image.metadata, kind, content)
    except ImageError as error:
        raise ImageError(f"{name}: {error}.") from error


def _check_pixels(pixels: Pixels, has_range: bool) -> Pixels:
    known = (np.uint8, np.uint16, *((np.float32,) if has_range else ()))
    if pixels.dtype not in known or pixels.ndim not in (2, 3) or pixels.size == 0:
        raise ImageError(
            f"an image file holds uint8 or uint16 pixels of shape (H, W) or (H, W, C); received {pixels.dtype} {pixels.shape}."
        )
    if pixels.ndim == 3 and not 1 <= pixels.shape[2] <= 4:
        raise ImageError(f"an image file holds 1 to 4 channels on the last axis; received {pixels.shape}.")
    return pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
