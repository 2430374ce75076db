"""HEIC, as phones write it: HEVC pixels, which libvips' wheels leave out; the only module that imports pillow_heif."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np

from ..errors import ImageError
from .exif import without_prefix
from .headers import Read
from .names import HEIC_REMEDY, can_read
from .pnm import Pixels
from .vips import use_vips

_BLOBS = {"icc_profile": "icc-profile-data", "exif": "exif-data", "xmp": "xmp-data"}
_HDR = {16: "PQ", 18: "HLG"}
"""Transfer functions that are not for a screen, by their number: ITU-T H.273."""


def decode_heic(read: Read, size: int, allocate: Callable[[int, int], None]) -> tuple[Pixels, dict[str, Any], bool]:
    """Decode the first image of a HEIC file.

    Args:
        read: Reads the file.
        size: Of the file.
        allocate: Called with height and width before the pixels are allocated; may block or raise.

    Returns:
        (H, W) or (H, W, C), upright, uint8, or uint16 of 10 and 12 bits on the scale of 16; the metadata: profile, EXIF, XMP;
        and whether the file holds more images.

    Raises:
        ImageError: pillow_heif is not installed, the file is damaged, or HDR.
    """
    if not can_read(".heic"):
        raise ImageError(f"the content is a HEIC image; {HEIC_REMEDY}, or convert it")
    import pillow_heif

    with use_vips():  # libheif has threads, too, which a forked child would wait for
        try:
            image = pillow_heif.open_heif(BytesIO(read(0, size)), convert_hdr_to_8bit=False)
            info, (width, height) = image.info, image.size
            transfer = (info.get("nclx_profile") or {}).get("transfer_characteristics")
            if transfer in _HDR:
                raise ImageError(f"the HEIC image is HDR ({_HDR[transfer]}), which no output here could say; convert it")
            allocate(height, width)
            pixels = np.ascontiguousarray(np.asarray(image))
        except (ValueError, RuntimeError, EOFError, SyntaxError, OSError, LookupError) as error:
            raise ImageError(f"the HEIC data is damaged, truncated or not supported ({str(error).strip()})") from error
    metadata = {name: bytes(info[key]) for key, name in _BLOBS.items() if info.get(key)}
    if "exif-data" in metadata:
        metadata["exif-data"] = without_prefix(metadata["exif-data"])
    return pixels, metadata, len(image) > 1
