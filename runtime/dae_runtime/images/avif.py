"""AVIF files, whose metadata libvips reads and writes, since their places depend on the compressed pixels.

Source: the AV1 Image File Format; ISO/IEC 23008-12 (HEIF).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .exif import without_prefix
from .headers import Read
from .vips import use_vips

_BLOBS = ("icc-profile-data", "exif-data", "xmp-data")
_PART_BYTES = 2**20


def read_avif(read: Read) -> dict[str, Any]:
    """Return the metadata of an AVIF: profile, EXIF and XMP."""
    parts: list[bytes] = []
    while part := read(sum(map(len, parts)), _PART_BYTES):
        parts.append(part)
    with use_vips() as vips:
        content = vips.Source.new_from_memory(b"".join(parts))
        image = vips.Image.heifload_source(content)
        found = {name: bytes(image.get(name)) for name in _BLOBS if image.get_typeof(name)}
    if "exif-data" in found:
        found["exif-data"] = without_prefix(found["exif-data"])
    return {**found, "native": ("avif", ())}


def encode_avif(image: Any, metadata: Mapping[str, Any], blob_type: Any, options: Mapping[str, Any]) -> bytes:
    """Return a libvips image as AVIF, with metadata from any format."""
    for name in _BLOBS:
        if name in metadata:
            prefix = b"Exif\0\0" if name == "exif-data" else b""
            image.set_type(blob_type, name, prefix + metadata[name])
    kept = [name.partition("-")[0] for name in _BLOBS if name in metadata]
    return bytes(image.heifsave_buffer(**{**options, "compression": "av1", "keep": "|".join(kept) or "none"}))
