"""Portable maps: files of other programs, and several images in one file."""

from __future__ import annotations

import numpy as np
import pytest

from builders import random_pixels
from dae_runtime.errors import ImageError
from dae_runtime.images import Image, encode, read_image, write_image
from dae_runtime.images.pnm import decode_pnm


def test_portable_maps_as_others_write_them():
    np.testing.assert_array_equal(decode_pnm(b"P5 # a comment\n2 1\n# another\n255\n\x07\x08"), [[7, 8]])
    np.testing.assert_array_equal(decode_pnm(b"P5\n2 1 15\n\x00\x0f"), [[0, 255]])
    np.testing.assert_array_equal(decode_pnm(b"P5\n2 1 1023\n\x00\x00\x03\xff"), [[0, 65535]])
    for data in (b"P5", b"P5 0 1 255\n", b"P5 1 1 0\n\0", b"P5 1 1 65536\n\0\0", b"P5 2 2 255\n\0\0\0", b"P6 1 1 255\n\0\0"):
        with pytest.raises(ImageError):
            decode_pnm(data)


def test_several_images_in_one_portable_map(tmp_path):
    one = encode(random_pixels((4, 5)), "pnm")
    for gap in (b"", b"\n", b" \r\n"):
        (tmp_path / "a.pgm").write_bytes(one + gap + one)
        with pytest.raises(ImageError, match=r"a\.pgm: the file holds several images; split it"):
            read_image(tmp_path / "a.pgm")
    for rest in (b"\n", b"P5", b"P7 x", b"junk"):  # what follows is none
        np.testing.assert_array_equal(decode_pnm(one + rest), random_pixels((4, 5)))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_pgm_is_gray_and_a_ppm_is_in_color(tmp_path, dtype):
    gray, color = random_pixels((4, 5), dtype), random_pixels((4, 5, 3), dtype)
    with pytest.raises(ImageError, match=r"a\.pgm: PGM holds gray only.*\(4, 5, 3\).*PPM or PNG"):
        write_image(tmp_path / "a.pgm", Image(color))
    write_image(tmp_path / "a.pgm", Image(gray[..., None]))
    write_image(tmp_path / "gray.ppm", Image(gray))
    write_image(tmp_path / "color.ppm", Image(color))
    for name, magic, pixels in (
        ("a.pgm", b"P5", gray),
        ("gray.ppm", b"P6", np.stack([gray] * 3, 2)),
        ("color.ppm", b"P6", color),
    ):
        assert (tmp_path / name).read_bytes()[:2] == magic
        np.testing.assert_array_equal(read_image(tmp_path / name).pixels, pixels)
    assert [encode(pixels, "pnm")[:2] for pixels in (gray, color)] == [b"P5", b"P6"]
    with pytest.raises(ImageError, match="alpha"):
        write_image(tmp_path / "a.ppm", Image(random_pixels((4, 5, 2))))
