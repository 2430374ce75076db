"""Bytes of image files to pixels and back: the one place that imports pyvips (libvips).

libvips keeps 16 bits per channel, writes PNG fast, and has wheels for x86-64 and aarch64. Each format's own loader is
called, chosen by the file's first bytes, so that none of libvips' other readers ever sees a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from .errors import ImageError, MissingDependencyError
from .pnm import Pixels, decode_pnm, encode_pnm

MAX_PIXELS = 2**29
"""Larger images are refused: a header may announce any size over no data."""

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
    (b"P5", "pnm"),
    (b"P6", "pnm"),
)
_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "png": {"compression": 1},  # level 6 takes five times as long and saves a tenth
    "jpeg": {"Q": 95},
    "tiff": {"compression": "lzw", "predictor": "horizontal"},
    "webp": {"Q": 95},
}
_COLOR_SPACES = {"b-w": (1, 2), "grey16": (1, 2), "srgb": (3, 4), "rgb": (3, 4), "rgb16": (3, 4)}
"""Interpretations that are taken, with the numbers of channels that each may have."""
_BLOBS = ("icc-profile-data", "exif-data", "xmp-data", "iptc-data")


def decode(data: bytes) -> tuple[Pixels, Mapping[str, Any]]:
    """Decode an image file.

    Args:
        data: The whole content of a PNG, JPEG, TIFF, WebP, PGM or PPM file.

    Returns:
        (H, W) or (H, W, C) pixels, C being 3 or, with alpha last, 2 or 4; uint8, or uint16 for 16-bit files; upright
        (the EXIF orientation is applied). And the metadata that `encode` takes.

    Raises:
        ImageError: The data is no such file, is damaged or truncated, or is of a kind that is not taken (CMYK, several pages).
        MissingDependencyError: pyvips is not installed.
    """
    kind = _sniff(data)
    if kind == "pnm":
        return decode_pnm(data), {}
    vips = _load_vips()
    try:
        loader = getattr(vips.Image, f"{kind}load_buffer")
        image = loader(data, fail_on="error", access="sequential")
        _check_kind(image, data)
        if image.get_typeof("orientation") and image.get("orientation") > 1:
            image = image.copy_memory().autorot()  # turning needs the rows in another order than they come
        shape = (image.height, image.width) if image.bands == 1 else (image.height, image.width, image.bands)
        return image.numpy().reshape(shape), MappingProxyType(_metadata(image))
    except vips.Error as error:
        raise ImageError(f"the {kind.upper()} data is damaged or truncated ({_reason(error)})") from error


def encode(pixels: Pixels, kind: str, metadata: Mapping[str, Any] = MappingProxyType({})) -> bytes:
    """Encode an image.

    Args:
        pixels: (H, W) or (H, W, C) as `decode` returns them. For JPEG and WebP, uint16 is rounded to 8 bits.
        kind: `png`, `jpeg`, `tiff`, `webp` or `pnm`.
        metadata: From `decode`: ICC profile, EXIF, XMP, resolution. PGM and PPM hold none.

    Raises:
        ImageError: The format cannot hold the image.
        MissingDependencyError: pyvips is not installed.
    """
    if kind == "pnm":
        return encode_pnm(pixels)
    if kind == "jpeg" and pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        raise ImageError("JPEG cannot hold alpha; write PNG, TIFF or WebP")
    if kind in ("jpeg", "webp") and pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    vips = _load_vips()
    try:
        image = _to_vips(vips, pixels, metadata)
        return bytes(getattr(image, f"{kind}save_buffer")(**_SAVE_OPTIONS[kind]))
    except vips.Error as error:
        raise ImageError(f"cannot write {pixels.shape} {pixels.dtype} as {kind.upper()} ({_reason(error)})") from error


def disable_cache() -> None:
    """Stop libvips from keeping recent results: for a command that reads each file once. Holds for the whole process."""
    _load_vips().cache_set_max(0)


def codec_versions() -> str:
    """Return the versions of libvips and pyvips, for people.

    Raises:
        MissingDependencyError: pyvips is not installed.
    """
    vips = _load_vips()
    return f"libvips {'.'.join(str(vips.version(part)) for part in range(3))} through pyvips {vips.__version__}"


def _load_vips() -> Any:
    try:
        import pyvips
    except (ImportError, OSError) as error:  # OSError: the Python package is there, the library is not
        raise MissingDependencyError(
            f"reading and writing image files needs pyvips with libvips ({error}). "
            "Install it with: pip install 'pyvips[binary]'"
        ) from error
    return pyvips


def _sniff(data: bytes) -> str:
    for signature, kind in _SIGNATURES:
        if data.startswith(signature):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if not data:
        raise ImageError("the file is empty")
    raise ImageError("the content is no PNG, JPEG, TIFF, WebP, binary PGM or PPM image; convert it to PNG")


def _check_kind(image: Any, data: bytes) -> None:
    """Refuse by name what cannot be denoised faithfully."""
    pages = image.get("n-pages") if image.get_typeof("n-pages") else 1
    animated_png = data.startswith(b"\x89PNG") and b"acTL" in data[: max(data.find(b"IDAT"), 0)]
    if pages > 1 or animated_png:
        raise ImageError(f"the file holds {pages if pages > 1 else 'several'} pages or frames; split it into single images")
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(f"{image.width} x {image.height} pixels are more than the limit of {MAX_PIXELS}; cut the image")
    if image.format not in ("uchar", "ushort"):
        raise ImageError(f"pixels of type {image.format} are not taken; convert the image to 8 or 16 bits per channel")
    if image.interpretation == "cmyk":
        raise ImageError("a CMYK image cannot be denoised as it is; convert it to RGB with its color profile")
    if image.bands not in _COLOR_SPACES.get(image.interpretation, ()):
        raise ImageError(
            f"{image.bands} channels of the color space {image.interpretation} are not taken; convert the image to gray or RGB"
        )


def _metadata(image: Any) -> dict[str, Any]:
    names = [name for name in image.get_fields() if name in _BLOBS or name.startswith("exif-ifd")]
    found = {name: image.get(name) for name in names}
    return {**found, "xres": image.xres, "yres": image.yres}


def _to_vips(vips: Any, pixels: Pixels, metadata: Mapping[str, Any]) -> Any:
    height, width = pixels.shape[:2]
    bands = pixels.shape[2] if pixels.ndim == 3 else 1
    wide = pixels.dtype == np.uint16
    flat = np.ascontiguousarray(pixels).data
    image = vips.Image.new_from_memory(flat, width, height, bands, "ushort" if wide else "uchar")
    gray, color = ("grey16", "rgb16") if wide else ("b-w", "srgb")
    resolution = {name: metadata[name] for name in ("xres", "yres") if name in metadata}
    image = image.copy(interpretation=gray if bands < 3 else color, **resolution)
    for name, value in metadata.items():
        if name not in resolution:
            kind = vips.GValue.blob_type if name in _BLOBS else vips.GValue.gstr_type
            image.set_type(kind, name, value)
    if "exif-data" in metadata:
        # The pixels are upright, but the EXIF block still holds the tag that says how to turn them.
        image.set_type(vips.GValue.gint_type, "orientation", 1)
    return image


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else "libvips gave no reason"
