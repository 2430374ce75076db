"""Camera raw and DNG, developed by LibRaw; the only module that imports rawpy.

Developed as the camera saw it: its white balance, sRGB, 16 bits, and the brightness of the exposure. White is where the
sensor clips, which LibRaw takes from the frame if its brightest value is above three quarters of the range: so clipped skies
get no tint.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

from ..errors import ImageError
from .headers import Read
from .jpeg import read_jpeg
from .names import RAW_REMEDY, can_read
from .pnm import Pixels
from .tags import Directory, read_directories, sub_directories
from .tiff import read_tiff
from .vips import use_vips

BYTES_PER_PIXEL = 17
"""Of the sensor's values, LibRaw's colors, and the pixels."""
_SIGNATURES = (
    *(b"FUJIFILMCCD-RAW", b"FOVb", b"\0MRM", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"II*\0\x10\0\0\0CR"),
    b"II\x1a\0\0\0HEAPCCDR",
)
_LIKE_TIFF = (b"IIRO", b"IIRS", b"IIU\0")
"""Starts of files that are TIFFs but for these."""
_SUB_DIRECTORIES, _PHOTOMETRIC, _DNG_VERSION = 330, 262, 50706
_MOSAIC, _LINEAR = 32803, 34892
_PIXELS = ((273, 279), (324, 325))
"""Tags of places and sizes of strips and tiles."""
_SRGB_GAMMA = (2.4, 12.92)
_KEPT = ("exif-data", "xmp-data")


def is_raw(read: Read) -> bool:
    """Tell by the content whether a file is camera raw; many are TIFFs, whose first image is a small preview."""
    head = read(0, 16)
    if head.startswith(_SIGNATURES) or head[4:12] == b"ftypcrx ":
        return True
    pages = read_directories(read)
    return bool(pages) and (_DNG_VERSION in pages[0] or any(map(_is_mosaic, _with_parts(read, pages))))


def develop(read: Read, size: int, allocate: Callable[[int, int], None]) -> tuple[Pixels, dict[str, Any]]:
    """Develop camera raw.

    Args:
        read: Reads the file.
        size: Of the file.
        allocate: Called with height and width before the pixels are allocated; may block or raise.

    Returns:
        (H, W, 3) uint16, or (H, W) of a sensor without colors, upright; and the metadata: EXIF, XMP, the profile of sRGB.

    Raises:
        ImageError: rawpy is not installed, or LibRaw cannot read the file, or it is truncated.
    """
    if not can_read(".dng"):
        raise ImageError(f"the content is camera raw; {RAW_REMEDY}, or develop it to TIFF")
    import rawpy

    as_tiff = _as_tiff(read)
    _check_whole(as_tiff, size)
    with use_vips() as vips:  # LibRaw has threads, too, which a forked child would wait for
        metadata = {"icc-profile-data": bytes(vips.Operation.call("profile_load", "srgb"))}
        try:
            with rawpy.imread(BytesIO(read(0, size))) as raw:
                allocate(raw.sizes.iheight, raw.sizes.iwidth)
                pixels = raw.postprocess(
                    use_camera_wb=True,
                    no_auto_bright=True,
                    output_bps=16,
                    output_color=rawpy.ColorSpace.sRGB,
                    gamma=_SRGB_GAMMA,
                )
                metadata |= _from_preview(raw)
        except rawpy.LibRawError as error:
            raise ImageError(
                f"the camera raw data is damaged, truncated or of an unknown camera ({_reason(error)})"
            ) from error
    metadata |= {name: data for name, data in read_tiff(as_tiff).items() if name in _KEPT}
    return (pixels[..., 0] if pixels.shape[-1] == 1 else pixels), metadata


def raw_version() -> str:
    """Return what develops camera raw, as text."""
    if not can_read(".dng"):
        return f"not read: {RAW_REMEDY}"
    import rawpy

    return f"LibRaw {'.'.join(map(str, rawpy.libraw_version))} through rawpy {rawpy.__version__}"


def _from_preview(raw: Any) -> dict[str, Any]:
    """Return EXIF and XMP of the preview, which formats that are no TIFFs have there."""
    import rawpy

    with contextlib.suppress(rawpy.LibRawError):
        preview = raw.extract_thumb()
        if preview.format == rawpy.ThumbFormat.JPEG:
            data = bytes(preview.data)
            found = read_jpeg(lambda offset, count: data[offset : offset + count])
            return {name: found[name] for name in _KEPT if name in found}
    return {}


def _as_tiff(read: Read) -> Read:
    """Return what reads a file with the head of a TIFF, where it is one but for that."""
    if read(0, 4) not in _LIKE_TIFF:
        return read
    return lambda offset, count: (b"II*\0" + read(0, count))[: min(count, 4)] if offset == 0 else read(offset, count)


def _check_whole(read: Read, size: int) -> None:
    """Check that the pixels lie within the file: LibRaw takes missing ones for black."""
    for directory in _with_parts(read, read_directories(read)):
        for starts, counts in _PIXELS:
            if _is_mosaic(directory) and starts in directory and counts in directory:
                ends = map(sum, zip(directory[starts].values, directory[counts].values, strict=False))
                if max(ends, default=0) > size:
                    raise ImageError("the camera raw data is truncated (its pixels lie beyond the end of the file)")


def _with_parts(read: Read, pages: list[Directory]) -> Iterator[Directory]:
    for page in pages:
        yield page
        if _SUB_DIRECTORIES in page:
            yield from sub_directories(read, page[_SUB_DIRECTORIES].values)


def _is_mosaic(directory: Directory) -> bool:
    tag = directory.get(_PHOTOMETRIC)
    return tag is not None and tag.values[:1] in ([_MOSAIC], [_LINEAR])


def _reason(error: Exception) -> str:
    text = error.args[0] if error.args else ""
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text) or type(error).__name__
