from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
import pyvips

from builders import random_pixels
from dae_runtime.images import decode, encode, read_image, write_image


def png_with(*chunks):
    """Return a PNG of 6 x 5 random pixels, with further chunks behind its header."""
    rows = b"".join(b"\0" + row.tobytes() for row in random_pixels((6, 5, 3)))
    header = b"IHDR" + struct.pack(">IIBBBBB", 5, 6, 8, 2, 0, 0, 0)
    parts = (header, *chunks, b"IDAT" + zlib.compress(rows), b"IEND")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in parts
    )


def tiff_of_pages(pages, orientations):
    """Return a TIFF of pages (N, H, W, 3), each with an orientation of its own."""
    image = pyvips.Image.new_from_memory(pages.tobytes(), pages.shape[2], pages.shape[0] * pages.shape[1], 3, "uchar")
    image = image.copy(interpretation="srgb")
    image.set_type(pyvips.GValue.gint_type, "page-height", pages.shape[1])
    data = bytearray(image.tiffsave_buffer())
    entry = struct.pack("<HHI", 274, 3, 1)
    offset = -1
    for orientation in orientations:
        offset = data.index(entry, offset + 1)
        struct.pack_into("<H", data, offset + 8, orientation)
    return bytes(data)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_page_of_a_tiff_is_turned(tmp_path, orientation, turns):
    pages = random_pixels((3, 6, 9, 3))
    (tmp_path / "a.tif").write_bytes(tiff_of_pages(pages, [orientation] * 3))
    image = read_image(tmp_path / "a.tif")
    assert image.pages == 3
    upright = np.stack([turns[orientation](page) for page in pages])
    np.testing.assert_array_equal(image.page_pixels, upright)
    write_image(tmp_path / "b.tif", image)
    again = read_image(tmp_path / "b.tif")
    assert again.pages == 3
    np.testing.assert_array_equal(again.page_pixels, upright)
    for page in range(3):  # as other programs see it, who turn by the tag
        single = pyvips.Image.new_from_file(str(tmp_path / "b.tif"), page=page).autorot()
        np.testing.assert_array_equal(single.numpy(), upright[page])


def test_pages_of_several_orientations_are_turned_each(turns):
    pages = random_pixels((2, 6, 9, 3))
    decoded = decode(tiff_of_pages(pages, [1, 6]))
    content = encode(decoded.pixels, "tiff", decoded.metadata, pages=2)
    for number, orientation in enumerate([1, 6]):
        single = pyvips.Image.tiffload_buffer(content, page=number)
        np.testing.assert_array_equal(single.numpy(), turns[orientation](pages[number]))


@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff", "webp", "bmp"])
@pytest.mark.parametrize("density", [0xFFFFFFFF, 0x7FFFFFFF])
def test_an_absurd_resolution_is_left_out(capfd, kind, density):
    decoded = decode(png_with(b"pHYs" + struct.pack(">IIB", density, density, 1)))
    written = decode(encode(decoded.pixels, kind, decoded.metadata))
    assert written.metadata.get("xres", 0) < 100
    assert "CRITICAL" not in capfd.readouterr().err


@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff", "webp", "bmp"])
@pytest.mark.parametrize("value", [-3.0, float("nan"), float("inf"), 1e300])
def test_a_resolution_that_is_none_is_left_out(capfd, kind, value):
    pixels = random_pixels((6, 5, 3))
    assert decode(encode(pixels, kind, {"xres": value, "yres": 2.0})).pixels.shape == pixels.shape
    assert "CRITICAL" not in capfd.readouterr().err


@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff", "bmp"])
def test_a_scanner_may_be_fine(kind):
    written = decode(encode(random_pixels((6, 5, 3)), kind, {"xres": 9600 / 25.4, "yres": 4800 / 25.4}))
    assert [25.4 * written.metadata[name] for name in ("xres", "yres")] == pytest.approx([9600, 4800], rel=1e-3)


def test_texts_of_a_png_are_kept(tmp_path):
    (tmp_path / "a.png").write_bytes(
        png_with(b"tEXtTitle\0Hello", b"tEXtComment\0two\nlines", b"iTXtTitel\0\0\0de\0\0" + "Grüße".encode())
    )
    write_image(tmp_path / "b.png", read_image(tmp_path / "a.png"))
    written = pyvips.Image.new_from_file(str(tmp_path / "b.png"))
    texts = {name.split("-", 3)[3]: written.get(name) for name in written.get_fields() if name.startswith("png-comment")}
    assert texts == {"Title": "Hello", "Comment": "two\nlines", "Titel": "Grüße"}


@pytest.mark.parametrize("chunk", [b"tEXt\0no name", b"tEXt" + b"k" * 90 + b"\0long", b"tEXtCaf\xe9\0x", b"tEXt \0x", b"tEXt"])
@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_texts_that_cannot_be_kept_do_no_harm(kind, chunk):
    decoded = decode(png_with(chunk))
    np.testing.assert_array_equal(decode(encode(decoded.pixels, kind, decoded.metadata)).pixels, decoded.pixels)


@pytest.mark.parametrize("text", ["ImageJ=1.53\nimages=2", "<OME>1 µm</OME>"])
def test_the_description_of_a_tiff_is_kept(tmp_path, text):
    image = pyvips.Image.black(5, 6, bands=3).copy(interpretation="srgb")
    image.set_type(pyvips.GValue.gstr_type, "image-description", text)
    (tmp_path / "a.tif").write_bytes(image.tiffsave_buffer())
    write_image(tmp_path / "b.tif", read_image(tmp_path / "a.tif"))
    assert pyvips.Image.new_from_file(str(tmp_path / "b.tif")).get("image-description") == text
    write_image(tmp_path / "b.png", read_image(tmp_path / "a.tif"))
