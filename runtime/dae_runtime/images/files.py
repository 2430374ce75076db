"""Image files: finding, reading and writing them."""

from __future__ import annotations

import dataclasses
import logging
import os
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ImageError, OutputExistsError
from ..system.atomic import atomic_path
from ..system.messages import counted, listed
from .codec import MAX_PIXELS, decode, encode
from .pnm import Pixels

logger = logging.getLogger(__name__)
_further_images_told = threading.Event()

FORMATS: Mapping[str, str] = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".webp": "webp",
    ".bmp": "bmp",
    ".pgm": "pnm",
    ".ppm": "pnm",
}
"""Kinds of image file by suffix, in lower case."""
IMAGE_SUFFIXES = tuple(FORMATS)
OTHER_SUFFIXES = (".gif", ".heic", ".heif", ".avif", ".jp2", ".jxl", ".exr", ".dng")
"""Images that are neither read nor written: named to the user where they would be passed over in silence."""


@dataclass(frozen=True, eq=False)
class Image:
    """An image file's content."""

    pixels: Pixels
    """(H, W), or (H, W, C) with C of 3 (RGB), or with alpha last 2 or 4; uint8, or uint16 for 16-bit files; upright."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """ICC profile, EXIF, XMP, texts, resolution and compression, as the codec wants them back."""
    pages: int = 1
    """Of a TIFF or an animated WebP; they lie below each other in `pixels`, all of one height."""
    kind: str = "png"
    """The kind of file that it was read from: `png`, `jpeg`, `tiff`, `webp`, `bmp` or `pnm`."""

    @property
    def page_pixels(self) -> Pixels:
        """The pages as a batch (pages, H, W, C), or `pixels` itself where there is but one: what is to be denoised."""
        if self.pages == 1:
            return self.pixels
        height, width = self.pixels.shape[:2]
        return self.pixels.reshape(self.pages, height // self.pages, width, -1)

    def with_pixels(self, pixels: Pixels) -> Image:
        """Return an image of other pixels, of the shape of `pixels` or of `page_pixels`, with the same metadata."""
        return dataclasses.replace(self, pixels=pixels if self.pages == 1 else pixels.reshape(self.pixels.shape))


def read_image(
    path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS, admit: Callable[[int], None] | None = None
) -> Image:
    """Read an image file: PNG, JPEG, TIFF, WebP, BMP, PGM or PPM, whatever its suffix.

    8-bit files give uint8, 16-bit files uint16, palettes and 1-bit files become RGB(A) and 8-bit gray. The EXIF orientation
    is applied, to each page. Of a JPEG that holds further images (a preview, a gain map, another view) the first is read; the
    log says so in a warning, for the first such file of the process.

    Args:
        path: The file.
        max_pixels: Larger images, counted over all pages, are refused before anything is allocated.
        admit: Called with the number of bytes that the pixels will take, before they are decoded; may wait, or raise.

    Raises:
        ImageError: The file cannot be read, is damaged, truncated, too large, or of a kind that is not taken (CMYK, GIF).
        MissingDependencyError: pyvips is not installed.
    """
    try:
        with Path(path).open("rb", buffering=0) as file:
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            decoded = decode(file.fileno() if regular else file.readall(), max_pixels, admit)
    except OSError as error:
        raise ImageError(f"{os.fspath(path)}: cannot be read: {error.strerror or error}.") from error
    except ImageError as error:
        raise ImageError(f"{os.fspath(path)}: {error}.") from error
    if decoded.others:
        tell_of_further_images(os.fspath(path))
    return Image(decoded.pixels, decoded.metadata, decoded.pages, decoded.kind)


def tell_of_further_images(name: str) -> None:
    """Log that only the first image of a file is kept: once as a warning, since all photos of a phone may be like that."""
    level = logging.INFO if _further_images_told.is_set() else logging.WARNING
    _further_images_told.set()
    logger.log(
        level,
        "%s: holds further images, such as a preview or a gain map; only the first is kept, here and in files like it",
        name,
    )


def write_image(path: str | os.PathLike[str], image: Image, *, overwrite: bool = True) -> None:
    """Write an image file in the format of its suffix; the file is whole or not there.

    A JPEG that was a JPEG keeps its quality (estimated from its tables, 75 at least) and the halved chroma of 4:2:0; any other
    sampling becomes 4:4:4. A WebP that was lossless stays so; other JPEG and WebP files are written at quality 95. The rest is
    written without loss. 16-bit pixels are rounded to 8 bits for JPEG, WebP and BMP. A PGM takes gray alone; in a PPM gray
    becomes RGB.

    Kept beside the pixels, where the format holds it: ICC profile, EXIF, XMP, IPTC, resolution, an animation's times, from PNG
    to PNG the texts of ASCII letters, and from TIFF to TIFF the description. Not kept: a PNG's gamma (gAMA, cHRM) and other
    texts, further tags of a TIFF (artist, software, date), and further images in a JPEG.

    Args:
        path: Where to; its folder must exist.
        image: `pixels` of uint8 or uint16, (H, W) or (H, W, C) with C from 1 to 4.
        overwrite: If false, an existing file is an error.

    Raises:
        OutputExistsError: The file exists and `overwrite` is false.
        ImageError: The suffix is unknown, the format cannot hold the image, or the file cannot be written.
        MissingDependencyError: pyvips is not installed.
    """
    name = os.fspath(path)
    pixels = _check_pixels(image.pixels)
    try:
        kind = kind_to_write(path)
        with atomic_path(path, overwrite=overwrite) as temporary, temporary.open("r+b", buffering=0) as file:
            encode(pixels, kind, image.metadata, pages=image.pages, target=file.fileno())
    except FileExistsError as error:
        raise OutputExistsError(f"{name}: exists already. Give another output, or allow overwriting.") from error
    except OSError as error:
        raise ImageError(f"{name}: cannot be written: {error.strerror or error}.") from error
    except ImageError as error:
        raise ImageError(f"{name}: {error}.") from error


def image_format(path: str | os.PathLike[str]) -> str:
    """Return the kind of image that a path's suffix stands for.

    Raises:
        ImageError: The suffix is not one of IMAGE_SUFFIXES.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise ImageError(f"the suffix {suffix!r} is no image format that can be written; use one of {', '.join(FORMATS)}")
    return FORMATS[suffix]


def kind_to_write(path: str | os.PathLike[str]) -> str:
    """Return what `codec.encode` is to write for a path: as `image_format`, but `.pgm` and `.ppm` are told apart.

    Raises:
        ImageError: The suffix is not one of IMAGE_SUFFIXES.
    """
    kind = image_format(path)
    return Path(path).suffix.lower().removeprefix(".") if kind == "pnm" else kind


def is_image_name(path: str | os.PathLike[str]) -> bool:
    """Tell whether a path's suffix is one of IMAGE_SUFFIXES, in any case, and its name is not hidden."""
    path = Path(path)
    return path.suffix.lower() in FORMATS and not path.name.startswith(".")


def find_images(folder: str | os.PathLike[str], recursive: bool = False, *, warn: bool = True) -> list[Path]:
    """Return the image files of a folder by their suffix, sorted.

    Other files, hidden files, and folders named like an image are left out; broken links are kept, so that reading reports
    them. Links to folders are not followed. Images of kinds that are not taken are named in the log, unless `warn` is false.

    Raises:
        ImageError: The folder cannot be read.
    """
    found = list(_find(os.fspath(folder), recursive))
    other = sorted(path.name for path in found if path.suffix.lower() in OTHER_SUFFIXES)
    if other and warn:
        logger.warning(
            "%s: %s passed over (%s): %s are not taken; convert them",
            folder,
            counted(len(other), "image"),
            listed(other),
            ", ".join(OTHER_SUFFIXES),
        )
    return sorted(path for path in found if is_image_name(path))


def _find(folder: str, recursive: bool) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir():
                    if recursive and not entry.is_symlink() and not entry.name.startswith("."):
                        yield from _find(entry.path, recursive)
                elif not entry.name.startswith(".") and (entry.is_file() or entry.is_symlink()):
                    yield Path(entry.path)
    except OSError as error:
        raise ImageError(f"the folder {folder} cannot be read: {error.strerror or error}.") from error


def _check_pixels(pixels: Pixels) -> Pixels:
    if pixels.dtype not in (np.uint8, np.uint16) or pixels.ndim not in (2, 3) or pixels.size == 0:
        raise ImageError(
            f"an image file holds uint8 or uint16 pixels of shape (H, W) or (H, W, C); received {pixels.dtype} {pixels.shape}."
        )
    if pixels.ndim == 3 and not 1 <= pixels.shape[2] <= 4:
        raise ImageError(f"an image file holds 1 to 4 channels on the last axis; received {pixels.shape}.")
    return pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
