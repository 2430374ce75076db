"""Files that are no images, or not whole ones: our errors, without much memory."""

from __future__ import annotations

import contextlib
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import pyvips

from builders import random_pixels
from dae_runtime.errors import ImageError
from dae_runtime.images import IMAGE_SUFFIXES, Image, decode, encode, read_image, write_image
from dae_runtime.images.vips import reading_reason, writing_reason


def vips_image(pixels, interpretation="srgb"):
    bands = pixels.shape[2] if pixels.ndim == 3 else 1
    kind = {"uint8": "uchar", "uint16": "ushort", "float32": "float"}[pixels.dtype.name]
    image = pyvips.Image.new_from_memory(np.ascontiguousarray(pixels).data, pixels.shape[1], pixels.shape[0], bands, kind)
    return image.copy(interpretation=interpretation)


def bmp_header(bits, width, height, compression=0, colors=0, offset=54):
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 3937, 3937, colors, 0)
    return struct.pack("<2sIHHI", b"BM", 0, 0, 0, offset) + info


def test_kinds_that_are_refused_by_name(tmp_path):
    text = zlib.compress(b"\0\0\0\0\0")
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)), (b"acTL", struct.pack(">II", 2, 0)), (b"IDAT", text)]
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in [*chunks, (b"IEND", b"")]
    )
    cases = {
        "cmyk.tif": (vips_image(random_pixels((8, 8, 4)), "cmyk").tiffsave_buffer(), "CMYK.*RGB"),
        "cmyk.jpg": (vips_image(random_pixels((8, 8, 4)), "cmyk").jpegsave_buffer(), "CMYK"),
        "float.tif": (vips_image(np.zeros((8, 8), np.float32), "b-w").tiffsave_buffer(), "float"),
        "lab.tif": (vips_image(random_pixels((8, 8, 3))).colourspace("lab").tiffsave_buffer(), "float|lab"),
        "animated.png": (png, "animated PNG"),
        "animated.gif": (vips_image(random_pixels((16, 8, 3))).gifsave_buffer(page_height=8), "animated GIF; split it"),
        "phone.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), "HEIC data is damaged"),
        "rle.bmp": (bmp_header(8, 4, 4, compression=1) + bytes(1100), "RLE8"),
        "16-bit.bmp": (bmp_header(16, 4, 4) + bytes(32), "16 bits"),
    }
    for name, (data, words) in cases.items():
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(ImageError, match=words) as caught:
            read_image(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.97])
def test_a_truncated_file_is_an_error(tmp_path, suffix, share):
    path = tmp_path / f"a{suffix}"
    write_image(path, Image(random_pixels((60, 80) if suffix == ".pgm" else (60, 80, 3))))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ImageError, match=suffix):
        read_image(path)


def test_a_header_over_no_data_is_an_error(tmp_path):
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    (tmp_path / "huge.png").write_bytes(png + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT")))
    (tmp_path / "huge.ppm").write_bytes(b"P6 999999999 999999999 255\n")
    for name in ("huge.png", "huge.ppm"):
        with pytest.raises(ImageError, match=name):
            read_image(tmp_path / name)


def test_files_that_are_no_images(tmp_path):
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    for name, words in (
        ("text.png", "no PNG"),
        ("empty.png", "empty"),
        ("folder.png", "cannot be read: it is a folder"),
        ("no.png", "No such"),
    ):
        with pytest.raises(ImageError, match=words):
            read_image(tmp_path / name)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".avif"])
def test_damaged_bytes_end_in_an_image_or_our_error(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_image(path, Image(random_pixels((20, 30, 3))))
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(100):
        damaged = bytearray(data)
        for position in rng.integers(0, len(data), 3):
            damaged[position] = rng.integers(0, 256)
        path.write_bytes(damaged)
        with contextlib.suppress(ImageError):
            assert read_image(path).pixels.ndim in (2, 3)


def test_a_file_is_not_given_the_reason_of_another():
    """libvips collects the errors of all threads in one text."""
    foreign = ["unable to call pngload_source", "  tiff2vips: Bad magic", "system error: No space left on device"]
    cases = (
        ([*foreign, "vipspng: libpng read error", "pngload_source: load error"], "png", "vipspng: libpng read error"),
        ([*foreign, "VipsJpeg: premature end of JPEG image"], "png", None),
        ([*foreign, "VipsJpeg: premature end of JPEG image"], "jpeg", "VipsJpeg: premature end of JPEG image"),
        (["unable to write", "vips_tracked: out of memory"], "webp", "vips_tracked: out of memory"),
        (["unable to call tiffload_source", "  tiff2vips: a", "tiffload_source: load error"], "tiff", "tiff2vips: a"),
        ([], "png", None),
    )
    for lines, kind, reason in cases:
        assert reading_reason("\n".join(lines), kind) == reason
    assert writing_reason("\n".join([*foreign, "pngsave: x"]), "png") == "No space left on device"
    assert (
        writing_reason("unable to call webpsave_target\n  vips2webp: picture too large", "webp")
        == "vips2webp: picture too large"
    )


def test_large_images_are_refused_before_they_are_decoded(tmp_path):
    for name in ("a.png", "a.jpg", "a.tif", "a.webp", "a.bmp", "a.pgm"):
        write_image(tmp_path / name, Image(np.zeros((300, 200), np.uint8)))
        asked = []
        assert read_image(tmp_path / name, max_pixels=60_000, before_allocate=asked.append).pixels.shape[:2] == (300, 200)
        assert asked[0] >= 60_000
        with pytest.raises(ImageError, match=r"200 x 300 pixels.*0\.06 million"):
            read_image(tmp_path / name, max_pixels=59_999, before_allocate=pytest.fail)


def test_a_png_too_short_for_its_header_is_refused(tmp_path, run_python):
    """60,000 x 8,000 pixels over no data: an error before a single byte of them is allocated."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 8_000, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(bytes(1000))
    parts = [struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (header, data, b"IEND")]
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    with pytest.raises(ImageError, match=r"promises 60000 x 8000 pixels, which \d+ bytes of PNG cannot hold"):
        read_image(path, before_allocate=pytest.fail)


def test_a_full_disk_is_our_error():
    with Path("/dev/full").open("r+b", buffering=0) as full:
        for kind in ("png", "jpeg", "tiff", "webp", "bmp", "pnm"):
            with pytest.raises((ImageError, OSError)):
                encode(random_pixels((50, 60, 3)), kind, target=full.fileno())


@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff", "webp", "avif", "bmp", "pnm"])
@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 0), (0, 0, 1)])
def test_an_image_without_pixels_is_not_written(kind, shape):
    with pytest.raises(ImageError, match="at least one pixel"):
        encode(np.zeros(shape, np.uint8), kind)


def test_every_truncated_image_has_a_reason(tmp_path, caplog):
    """Cut at any place, also where libvips says nothing."""
    pixels = random_pixels((40, 50, 3))
    image = vips_image(pixels)
    files = {
        "a.png": image.pngsave_buffer(),
        "b.png": image.pngsave_buffer(interlace=True),
        "a.jpg": image.jpegsave_buffer(),
        "b.jpg": image.jpegsave_buffer(interlace=True),
        "a.tif": image.tiffsave_buffer(compression="lzw"),
        "a.webp": image.webpsave_buffer(),
    }
    for name, data in files.items():
        for size in [*range(4, 120), *range(120, len(data) - 1, 131)]:
            (tmp_path / name).write_bytes(data[:size])
            with pytest.raises(ImageError, match=rf"{name}: (?!.*(reports no reason|load error))"):
                read_image(tmp_path / name)
    wrong = bytearray(files["a.png"])
    wrong[len(wrong) // 2] ^= 1
    (tmp_path / "a.png").write_bytes(wrong)
    with pytest.raises(ImageError, match="png"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize(("frame", "bits"), [(0xC1, 12), (0xC0, 12)])
def test_jpegs_of_12_bits_are_refused_for_what_they_are(frame, bits):
    content = bytearray(encode(random_pixels((32, 24)), "jpeg"))
    place = content.index(b"\xff\xc0")
    content[place + 1], content[place + 4] = frame, bits
    with pytest.raises(ImageError, match=r"not supported.*precision 12"):
        decode(bytes(content))


@pytest.mark.parametrize("place", [2**31, 2**63 - 1, 2**63, 2**64 - 1])
def test_directories_anywhere(tmp_path, place):
    """Of BigTIFF, as bytes and as a file."""
    content = b"II+\0\x08\0\0\0" + struct.pack("<Q", place) + bytes(64)
    (tmp_path / "a.tif").write_bytes(content)
    for read in (lambda: decode(content), lambda: read_image(tmp_path / "a.tif")):
        with pytest.raises(ImageError, match="beyond the end"):
            read()


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("options", [{}, {"tile": True, "tile_width": 16, "tile_height": 16, "pyramid": True}])
def test_a_tiff_that_is_cut_off_loses_no_page_in_silence(big, options):
    pages = pyvips.Image.new_from_array(random_pixels((144, 36), seed=1)).copy(interpretation="b-w")
    if not options:
        pages = pages.copy()
        pages.set_type(pyvips.GValue.gint_type, "page-height", 48)
    content = bytes(pages.tiffsave_buffer(bigtiff=big, **options))
    whole = decode(content)
    assert whole.pages > 2
    for length in range(16, len(content), max(1, len(content) // 400)):
        try:
            part = decode(content[:length])
        except ImageError:
            continue
        np.testing.assert_array_equal(part.pixels, whole.pixels)
