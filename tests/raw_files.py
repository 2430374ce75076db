"""Camera raw files made by tests: a minimal DNG of a Bayer mosaic, written here tag by tag.

Source: the DNG specification 1.6, chapters 2 to 4.
"""

from __future__ import annotations

import struct

import numpy as np

BLACK, WHITE = 512, 16383
NEUTRAL = (0.5, 1.0, 0.625)
"""Raw values of gray, of which the camera's white balance is the inverse."""
XYZ_TO_SRGB = ((3.2405, -1.5371, -0.4985), (-0.9693, 1.8760, 0.0416), (0.0556, -0.2040, 1.0572))
_RATIO = 10000


def mosaic(linear: np.ndarray) -> np.ndarray:
    """Return (H, W, 3) linear light of 0..1 as a sensor sees it: (H, W) uint16, red at the upper left, green beside it."""
    seen = np.clip(linear * NEUTRAL, 0, 1) * (WHITE - BLACK) + BLACK
    values = seen[..., 1].copy()
    values[0::2, 0::2] = seen[0::2, 0::2, 0]
    values[1::2, 1::2] = seen[1::2, 1::2, 2]
    return values.round().astype(np.uint16)


def dng(values: np.ndarray, orientation: int = 1, artist: str = "Ann", iso: int = 800) -> bytes:
    """Return a DNG of (H, W) uint16 as of `mosaic`, whose colors are those of sRGB."""
    height, width = values.shape
    data = values.astype("<u2").tobytes()
    exif = {0x8827: (3, [iso]), 0x829A: (5, [(1, 250)])}

    def head(exif_at: int, data_at: int) -> bytes:
        main = {
            **{254: (4, [0]), 256: (4, [width]), 257: (4, [height]), 258: (3, [16]), 259: (3, [1]), 262: (3, [32803])},
            **{271: (2, b"Made\0"), 272: (2, b"Camera\0"), 273: (4, [data_at]), 274: (3, [orientation]), 277: (3, [1])},
            **{
                278: (4, [height]),
                279: (4, [len(data)]),
                284: (3, [1]),
                315: (2, artist.encode() + b"\0"),
                34665: (4, [exif_at]),
            },
            **{33421: (3, [2, 2]), 33422: (1, bytes((0, 1, 1, 2))), 50706: (1, bytes((1, 4, 0, 0)))},
            **{50708: (2, b"Made Camera\0"), 50714: (3, [BLACK]), 50717: (3, [WHITE]), 50778: (3, [21])},
            50721: (10, [(round(number * _RATIO), _RATIO) for row in XYZ_TO_SRGB for number in row]),
            50728: (5, [(round(number * _RATIO), _RATIO) for number in NEUTRAL]),
        }
        return struct.pack("<2sHI", b"II", 42, 8) + _directory(main, 8)

    exif_at = len(head(0, 0))
    data_at = exif_at + len(_directory(exif, exif_at))
    return head(exif_at, data_at) + _directory(exif, exif_at) + data


def _directory(tags: dict, at: int) -> bytes:
    """Return a directory that stands at a place of a file, with its values behind it."""
    entries, body = struct.pack("<H", len(tags)), b""
    place = at + 2 + 12 * len(tags) + 4
    for number, (kind, values) in sorted(tags.items()):
        if isinstance(values, bytes):
            content, count = values, len(values)
        else:
            form = {3: "H", 4: "I", 5: "II", 10: "ii"}[kind]
            content = b"".join(struct.pack(f"<{form}", *(value if isinstance(value, tuple) else (value,))) for value in values)
            count = len(values)
        if len(content) > 4:
            content, body = struct.pack("<I", place + len(body)), body + content + b"\0" * (len(content) % 2)
        entries += struct.pack("<HHI", number, kind, count) + content.ljust(4, b"\0")
    return entries + bytes(4) + body
