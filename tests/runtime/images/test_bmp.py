"""BMP files: round trip, files of other programs, damaged files."""

from __future__ import annotations

import contextlib
import struct

import numpy as np
import pytest

from builders import random_pixels
from dae_runtime.errors import ImageError
from dae_runtime.images import Image, decode, encode, read_image, write_image


def bmp_header(bits, width, height, compression=0, colors=0, offset=54):
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 3937, 3937, colors, 0)
    return struct.pack("<2sIHHI", b"BM", 0, 0, 0, offset) + info


@pytest.mark.parametrize("shape", [(7, 5), (1, 1), (7, 5, 3), (6, 9, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_bmp_keeps_8_bits_and_the_resolution(tmp_path, shape, dtype):
    pixels = random_pixels(shape, dtype)
    write_image(tmp_path / "a.bmp", Image(pixels, {"xres": 11.811, "yres": 5.0}))
    read = read_image(tmp_path / "a.bmp")
    np.testing.assert_array_equal(read.pixels, np.rint(pixels / 257).astype(np.uint8) if dtype == np.uint16 else pixels)
    assert read.metadata == {"xres": 11.811, "yres": 5.0}


@pytest.mark.parametrize(("bits", "colors"), [(1, 2), (4, 16), (8, 256), (8, 7)])
def test_bmp_palettes_as_others_write_them(tmp_path, bits, colors):
    indices = np.random.default_rng(0).integers(0, colors, (5, 7)).astype(np.uint8)
    palette = random_pixels((colors, 3))
    digits = np.zeros((5, 32 // bits * -(-7 * bits // 32)), np.uint8)
    digits[:, :7] = indices
    packed = np.packbits(np.unpackbits(digits[..., None], axis=2)[..., 8 - bits :].reshape(5, -1), axis=1)
    table = np.zeros((colors, 4), np.uint8)
    table[:, :3] = palette[:, ::-1]
    for height, rows in ((5, packed[::-1]), (-5, packed)):  # from the bottom up, or from the top down
        head = bmp_header(bits, 7, height, colors=colors, offset=54 + 4 * colors)
        (tmp_path / "a.bmp").write_bytes(head + table.tobytes() + rows.tobytes())
        np.testing.assert_array_equal(read_image(tmp_path / "a.bmp").pixels, palette[indices])
    (tmp_path / "a.bmp").write_bytes(head + bytes(4 * colors) + rows.tobytes())
    np.testing.assert_array_equal(read_image(tmp_path / "a.bmp").pixels, np.zeros((5, 7)))  # a gray palette


def test_bmp_of_32_bits_without_alpha(tmp_path):
    pixels = random_pixels((3, 4, 3))
    stored = np.concatenate([pixels[::-1, :, ::-1], np.zeros((3, 4, 1), np.uint8)], axis=2)
    (tmp_path / "a.bmp").write_bytes(bmp_header(32, 4, 3) + stored.tobytes())
    np.testing.assert_array_equal(read_image(tmp_path / "a.bmp").pixels, pixels)


def test_damaged_bmp_files_end_in_an_image_or_our_error():
    rng = np.random.default_rng(0)
    for pixels in (random_pixels((6, 5)), random_pixels((6, 5, 4))):
        data = encode(pixels, "bmp")
        for _ in range(300):
            damaged = bytearray(data)
            for position in rng.integers(0, 80, 3):
                damaged[position] = rng.integers(0, 256)
            with contextlib.suppress(ImageError):
                assert decode(bytes(damaged)).pixels.ndim in (2, 3)
