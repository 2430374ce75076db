"""Metadata of image files: read from libvips' images and attached to them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

LARGEST_RESOLUTION = 1e6 / 25.4
"""In pixels per mm, the most that libvips writes into a TIFF."""

_BLOBS = ("icc-profile-data", "exif-data", "xmp-data", "iptc-data")
_DESCRIPTION = "image-description"
_ANIMATION = ("loop", "delay")
_EXIF = "exif-ifd"
_ORIENTATION = "exif-ifd0-Orientation"
_PNG_TEXT = re.compile(r"png-comment-\d+-[!-~](?:[ -~]{0,77}[!-~])?")
"""Field of a PNG text with a valid keyword."""


def read_metadata(image: Any) -> dict[str, Any]:
    """Return the metadata of a libvips image: profile, EXIF, XMP, IPTC, texts, frame times, resolution."""
    fields = _fields(image)
    found = {name: image.get(name) for name in fields if name in _BLOBS or (name.startswith(_EXIF) and name != _ORIENTATION)}
    texts = {name: image.get(name) for name in fields if name == _DESCRIPTION or _PNG_TEXT.fullmatch(name)}
    # libvips reads texts as UTF-8 and writes PNG texts unchanged, where Latin-1 is expected.
    found |= {name: text for name, text in texts.items() if text.isascii() or (name == _DESCRIPTION and "\ufffd" not in text)}
    if image.get_typeof("n-pages") and image.get("n-pages") > 1:
        found |= {name: image.get(name) for name in _ANIMATION if image.get_typeof(name)}
    return {**found, "xres": image.xres, "yres": image.yres}


def with_valid_resolution(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata without a resolution outside 0 to LARGEST_RESOLUTION."""
    given = [metadata[name] for name in ("xres", "yres") if name in metadata]
    sound = all(0 < value <= LARGEST_RESOLUTION for value in given)
    return {name: value for name, value in metadata.items() if sound or name not in ("xres", "yres")}


def attach_metadata(vips: Any, image: Any, metadata: Mapping[str, Any]) -> Any:
    """Return a libvips image with metadata of `read_metadata`; each saver stores what its format holds."""
    resolution = {name: metadata[name] for name in ("xres", "yres") if name in metadata}
    image = image.copy(**resolution)
    types = {
        **dict.fromkeys(_BLOBS, vips.GValue.blob_type),
        "loop": vips.GValue.gint_type,
        "delay": vips.GValue.array_int_type,
        _DESCRIPTION: vips.GValue.gstr_type,
    }
    for name, value in metadata.items():
        if name in types or name.startswith(_EXIF) or _PNG_TEXT.fullmatch(name):
            image.set_type(types.get(name, vips.GValue.gstr_type), name, value)
    if "exif-data" in metadata:
        # The pixels are upright, but the EXIF block still holds the orientation tag.
        image.set_type(vips.GValue.gint_type, "orientation", 1)
    return image


def _fields(image: Any) -> list[str]:
    try:
        return list(image.get_fields())
    except UnicodeDecodeError:  # a PNG's texts are named in Latin-1, and pyvips reads the names as UTF-8
        return [name for name in _BLOBS if image.get_typeof(name)]
