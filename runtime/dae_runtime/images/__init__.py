"""Find, read and write image files. Loads numpy and libvips on first use."""

from typing import TYPE_CHECKING

from ..system.lazy import lazy_face

if TYPE_CHECKING:
    from .codec import KINDS_OF_8_BITS, MAX_PIXELS, decode, encode, lost_metadata
    from .exif import camera_of
    from .files import (
        Image,
        image_bytes,
        most_bytes,
        read_image,
        read_image_bytes,
        read_stream,
        save_image,
        warn_multi_image,
        write_image,
    )
    from .names import (
        FORMATS,
        IMAGE_SUFFIXES,
        OTHER_SUFFIXES,
        PassedOver,
        find_images,
        image_format,
        is_image_name,
        kind_to_write,
        path_order,
        split_name,
        walk_images,
        written_kind,
        written_suffix,
    )
    from .ranges import parse_range
    from .raw import raw_version
    from .vips import codec_versions, disable_cache

__all__ = [
    "FORMATS",
    "IMAGE_SUFFIXES",
    "KINDS_OF_8_BITS",
    "MAX_PIXELS",
    "OTHER_SUFFIXES",
    "Image",
    "PassedOver",
    "camera_of",
    "codec_versions",
    "decode",
    "disable_cache",
    "encode",
    "find_images",
    "image_bytes",
    "image_format",
    "is_image_name",
    "kind_to_write",
    "lost_metadata",
    "most_bytes",
    "parse_range",
    "path_order",
    "raw_version",
    "read_image",
    "read_image_bytes",
    "read_stream",
    "save_image",
    "split_name",
    "walk_images",
    "warn_multi_image",
    "write_image",
    "written_kind",
    "written_suffix",
]

__getattr__ = lazy_face(
    __name__,
    {
        "codec": ("KINDS_OF_8_BITS", "MAX_PIXELS", "decode", "encode", "lost_metadata"),
        "exif": ("camera_of",),
        "files": (
            "Image",
            "image_bytes",
            "most_bytes",
            "read_image",
            "read_image_bytes",
            "read_stream",
            "save_image",
            "warn_multi_image",
            "write_image",
        ),
        "names": (
            "FORMATS",
            "IMAGE_SUFFIXES",
            "OTHER_SUFFIXES",
            "PassedOver",
            "find_images",
            "image_format",
            "is_image_name",
            "kind_to_write",
            "path_order",
            "split_name",
            "walk_images",
            "written_kind",
            "written_suffix",
        ),
        "ranges": ("parse_range",),
        "raw": ("raw_version",),
        "vips": ("codec_versions", "disable_cache"),
    },
)
