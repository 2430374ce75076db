"""libvips, the image library: the one place that imports pyvips.

It keeps 16 bits per channel, writes PNG fast, and has wheels for x86-64 and aarch64. Each format's own loader is called, so
that none of its other readers ever sees a file. It collects the errors of all threads in one text, so that what it says may
be about another file: each line is judged by the loader or saver that it begins with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import ImageError, MissingDependencyError
from .metadata import attach_metadata
from .pnm import Pixels

_KINDS = ("png", "jpeg", "tiff", "webp")
_SYSTEM_ERROR = "system error: "
_VAGUE = ("load error", "unable to open source for input")


def load_vips() -> Any:
    """Return pyvips.

    Raises:
        MissingDependencyError: It, or libvips, is not installed.
    """
    try:
        import pyvips
    except (ImportError, OSError) as error:  # OSError: the Python package is there, the library is not
        raise MissingDependencyError(
            f"reading and writing image files needs pyvips with libvips ({error}). "
            "Install it with: pip install 'pyvips[binary]'"
        ) from error
    return pyvips


def disable_cache() -> None:
    """Stop libvips from keeping recent results: for a command that reads each file once. Holds for the whole process."""
    load_vips().cache_set_max(0)


def codec_versions() -> str:
    """Return the versions of libvips and pyvips, for people.

    Raises:
        MissingDependencyError: pyvips is not installed.
    """
    vips = load_vips()
    return f"libvips {'.'.join(str(vips.version(part)) for part in range(3))} through pyvips {vips.__version__}"


def open_image(vips: Any, kind: str, source: bytes | int) -> Any:
    """Open an image with all its pages, without decoding it."""
    stream = vips.Source.new_from_descriptor(source) if isinstance(source, int) else vips.Source.new_from_memory(source)
    pages = {"n": -1} if kind in ("tiff", "webp") else {}
    try:
        return getattr(vips.Image, f"{kind}load_source")(stream, fail_on="error", access="sequential", **pages)
    except vips.Error as error:
        if kind == "tiff" and "differs" in str(error):
            raise ImageError("the pages of the TIFF differ in size, kind or orientation; split it into single ones") from error
        raise


def upright(vips: Any, image: Any, pages: int) -> Any:
    """Turn each page as the tag says, which is the same of all: libvips takes no others together."""
    if not image.get_typeof("orientation") or image.get("orientation") <= 1:
        return image
    image = image.copy_memory()  # turning needs the rows in another order than they come
    height = image.height // pages
    turned = [image.crop(0, number * height, image.width, height).autorot() for number in range(pages)]
    return vips.Image.arrayjoin(turned, across=1)


def to_vips(vips: Any, pixels: Pixels, metadata: Mapping[str, Any], pages: int) -> Any:
    """Return pixels as an image of libvips, its pages below each other."""
    height, width = pixels.shape[:2]
    bands = pixels.shape[2] if pixels.ndim == 3 else 1
    wide = pixels.dtype == np.uint16
    flat = np.ascontiguousarray(pixels).data
    image = vips.Image.new_from_memory(flat, width, height, bands, "ushort" if wide else "uchar")
    gray, color = ("grey16", "rgb16") if wide else ("b-w", "srgb")
    image = image.copy(interpretation=gray if bands < 3 else color)
    if pages > 1:
        image.set_type(vips.GValue.gint_type, "page-height", height // pages)
    return attach_metadata(vips, image, metadata)


def reading_reason(text: str, kind: str) -> str:
    """Return why a file of a kind (`png`, `jpeg`, `tiff`, `webp`) could not be read, from libvips' text."""
    lines = [line for line in _lines(text) if not line.startswith(_SYSTEM_ERROR)]  # of a file that another thread writes
    own = [line for line in lines if kind in _place(line)]
    nobodys = [line for line in lines if not any(name in _place(line) for name in _KINDS)]
    clear = [line for line in own if not line.endswith(_VAGUE)]
    return next(reversed(clear or own or nobodys), "libvips gave no reason")


def writing_reason(text: str, kind: str) -> str:
    """Return why a file of a kind could not be written, from libvips' text."""
    for line in _lines(text):
        if line.startswith(_SYSTEM_ERROR):  # a full disk, say; what libvips adds to it later says less
            return line.removeprefix(_SYSTEM_ERROR)
    return reading_reason(text, kind)


def _lines(text: str) -> list[str]:
    """Return the lines that name where they come from, without the call that failed."""
    return [line.strip() for line in text.splitlines() if ": " in line]


def _place(line: str) -> str:
    return line.partition(":")[0].lower()
