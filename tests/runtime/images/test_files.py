from __future__ import annotations

import contextlib
import itertools
import logging
import os
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
import pyvips

from dae_runtime.errors import ImageError, OutputExistsError
from dae_runtime.images import IMAGE_SUFFIXES, Image, decode, encode, find_images, read_image, write_image
from dae_runtime.images.headers import jpeg_quality
from dae_runtime.images.pnm import decode_pnm
from dae_runtime.images.vips import reading_reason, writing_reason

LOSSLESS = (".png", ".tif", ".tiff")


def random_pixels(shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def smooth_pixels(shape):
    ramp = np.linspace(20, 230, shape[0])[:, None] + np.zeros(shape[1])
    return np.broadcast_to(ramp[(..., *[None] * (len(shape) - 2))], shape).astype(np.uint8)


def vips_image(pixels, interpretation="srgb"):
    bands = pixels.shape[2] if pixels.ndim == 3 else 1
    kind = {"uint8": "uchar", "uint16": "ushort", "float32": "float"}[pixels.dtype.name]
    image = pyvips.Image.new_from_memory(np.ascontiguousarray(pixels).data, pixels.shape[1], pixels.shape[0], bands, kind)
    return image.copy(interpretation=interpretation)


SHAPES = [(7, 5), (1, 1), (7, 5, 2), (7, 5, 3), (7, 5, 4)]


@pytest.mark.parametrize(
    ("suffix", "shape"),
    [*itertools.product([*LOSSLESS, ".PNG"], SHAPES), (".pgm", (7, 5)), (".pgm", (1, 1)), (".ppm", (7, 5, 3))],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_lossless_formats_keep_every_pixel(tmp_path, suffix, dtype, shape):
    path = tmp_path / f"a{suffix}"
    pixels = random_pixels(shape, dtype)
    write_image(path, Image(pixels))
    read = read_image(path).pixels
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, pixels)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".webp"])
@pytest.mark.parametrize("shape", [(40, 30), (40, 30, 3)])
def test_lossy_formats_come_near(tmp_path, suffix, shape):
    path = tmp_path / f"a{suffix}"
    pixels = smooth_pixels(shape)
    write_image(path, Image(pixels))
    read = read_image(path).pixels
    if suffix == ".webp" and len(shape) == 2:  # WebP has no gray
        read = read[..., 0]
    assert read.shape == shape
    assert np.abs(read.astype(int) - pixels).max() <= 4


def test_16_bits_become_8_where_the_format_has_no_more(tmp_path):
    write_image(tmp_path / "a.jpg", Image(np.full((16, 16), 128 * 257 + 100, np.uint16)))
    read = read_image(tmp_path / "a.jpg").pixels
    assert read.dtype == np.uint8
    assert np.abs(read.astype(int) - 128).max() <= 1


def test_the_content_decides_not_the_suffix(tmp_path):
    write_image(tmp_path / "a.png", Image(random_pixels((4, 4))))
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert read_image(tmp_path / "a.jpg").pixels.shape == (4, 4)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff"])
def test_the_orientation_is_applied_once(tmp_path, orientation, kind, turns):
    stored = np.zeros((16, 24, 3), np.uint8)
    stored[:8, :8] = 250
    image = vips_image(stored)
    image.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    path = tmp_path / "a.img"
    path.write_bytes(getattr(image, f"{kind}save_buffer")())
    read = read_image(path)
    assert np.abs(read.pixels.astype(int) - turns[orientation](stored)).max() <= 8
    for suffix in (".png", ".jpg", ".tif", ".webp"):
        write_image(tmp_path / f"b{suffix}", read)
        again = read_image(tmp_path / f"b{suffix}").pixels
        assert again.shape == read.pixels.shape
        assert np.abs(again.astype(int) - read.pixels).max() <= 8


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_profile_and_resolution_and_exif_are_kept(tmp_path, suffix):
    image = vips_image(smooth_pixels((20, 30, 3))).icc_transform("p3", input_profile="srgb")
    image = image.copy(xres=300 / 25.4, yres=300 / 25.4)
    image.set_type(pyvips.GValue.gstr_type, "exif-ifd0-Make", "ACME (ACME, ASCII, 5 components, 5 bytes)")
    source = tmp_path / "a.jpg"
    source.write_bytes(image.jpegsave_buffer(Q=95))
    write_image(tmp_path / f"b{suffix}", read_image(source))
    result = pyvips.Image.new_from_file(str(tmp_path / f"b{suffix}"))
    assert result.get("icc-profile-data") == image.get("icc-profile-data")
    if suffix != ".webp":
        assert result.xres * 25.4 == pytest.approx(300, abs=0.5)
    if suffix != ".tif":
        assert result.get("exif-ifd0-Make").startswith("ACME")


def test_palette_and_one_bit_files(tmp_path):
    colors = random_pixels((16, 16, 3)) // 64 * 64
    (tmp_path / "palette.png").write_bytes(vips_image(colors).pngsave_buffer(palette=True, Q=100, dither=0))
    assert read_image(tmp_path / "palette.png").pixels.shape == (16, 16, 3)
    bits = random_pixels((9, 11)) // 128 * 255
    (tmp_path / "bits.png").write_bytes(vips_image(bits, "b-w").pngsave_buffer(bitdepth=1))
    np.testing.assert_array_equal(read_image(tmp_path / "bits.png").pixels, bits)


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
        "pages.tif": (
            vips_image(random_pixels((64, 64))).tiffsave_buffer(pyramid=True, tile=True, tile_width=16, tile_height=16),
            "differ in size",
        ),
        "float.tif": (vips_image(np.zeros((8, 8), np.float32), "b-w").tiffsave_buffer(), "float"),
        "lab.tif": (vips_image(random_pixels((8, 8, 3))).colourspace("lab").tiffsave_buffer(), "float|lab"),
        "animated.png": (png, "animated PNG"),
        "animated.gif": (b"GIF89a" + bytes(20), "a GIF image; convert it to PNG"),
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
        ("folder.png", "cannot be read"),
        ("no.png", "No such"),
    ):
        with pytest.raises(ImageError, match=words):
            read_image(tmp_path / name)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
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


def test_writing_what_cannot_be_written(tmp_path):
    good = Image(random_pixels((4, 4)))
    write_image(tmp_path / "a.png", good)
    before = (tmp_path / "a.png").read_bytes()
    with pytest.raises(OutputExistsError, match=r"a\.png: exists"):
        write_image(tmp_path / "a.png", Image(random_pixels((5, 5))), overwrite=False)
    assert (tmp_path / "a.png").read_bytes() == before
    for name, image, words in (
        ("a.gif", good, r"'\.gif'"),
        ("a.bmp", Image(random_pixels((4, 4, 2))), "gray with alpha"),
        ("a.png", Image(random_pixels((4, 4)), pages=2), "PNG cannot hold 2 pages"),
        ("a.jpg", Image(random_pixels((4, 4, 4))), "alpha"),
        ("a.png", Image(np.zeros((4, 4), np.float32)), "float32"),
        ("a.png", Image(np.zeros((4, 4, 5), np.uint8)), "channels"),
        ("none/a.png", good, "cannot be written"),
        ("a.webp", Image(np.zeros((1, 17_000), np.uint8)), "WEBP"),
    ):
        with pytest.raises(ImageError, match=words):
            write_image(tmp_path / name, image)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_finding_images(tmp_path):
    odd = os.fsdecode(b"\xff\xfe name \xc3\xa9.png")
    for name in ("b.PNG", "a.jpg", "ä ö.tiff", odd, "notes.txt", ".hidden.png", "sub/c.webp", ".git/d.png", "x.gif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "dangling.png").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.png")
    flat = {"b.PNG", "a.jpg", "ä ö.tiff", odd, "dangling.png"}
    assert {str(path.relative_to(tmp_path)) for path in find_images(tmp_path)} == flat
    found = find_images(tmp_path, recursive=True)
    assert {str(path.relative_to(tmp_path)) for path in found} == {*flat, "sub/c.webp"}
    assert found == sorted(found)
    with pytest.raises(ImageError, match="cannot be read"):
        find_images(tmp_path / "none")


def test_images_of_other_kinds_are_named(tmp_path, caplog):
    (tmp_path / "x.gif").touch()
    assert find_images(tmp_path) == []
    assert "1 image passed over (x.gif)" in caplog.text


def test_portable_maps_as_others_write_them():
    np.testing.assert_array_equal(decode_pnm(b"P5 # a comment\n2 1\n# another\n255\n\x07\x08"), [[7, 8]])
    np.testing.assert_array_equal(decode_pnm(b"P5\n2 1 15\n\x00\x0f"), [[0, 255]])
    np.testing.assert_array_equal(decode_pnm(b"P5\n2 1 1023\n\x00\x00\x03\xff"), [[0, 65535]])
    for data in (b"P5", b"P5 0 1 255\n", b"P5 1 1 0\n\0", b"P5 1 1 65536\n\0\0", b"P5 2 2 255\n\0\0\0", b"P6 1 1 255\n\0\0"):
        with pytest.raises(ImageError):
            decode_pnm(data)


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


@pytest.mark.parametrize("suffix", [".tif", ".webp"])
@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 3), (6, 5, 4)])
def test_pages_are_read_and_written(tmp_path, suffix, shape):
    if suffix == ".webp" and shape == (6, 5):
        shape = (6, 5, 3)  # WebP has no gray
    pages = random_pixels((3, *shape))
    pages[..., -1] |= 1  # what lies under a transparent pixel is WebP's to choose
    image = Image(
        pages.reshape(18, *shape[1:]), {"delay": [40, 50, 60], "loop": 3, "compression": ("webp", {"lossless": True})}, 3
    )
    write_image(tmp_path / f"a{suffix}", image)
    read = read_image(tmp_path / f"a{suffix}")
    assert read.pages == 3
    np.testing.assert_array_equal(read.page_pixels, pages.reshape(3, 6, 5, -1))
    write_image(tmp_path / f"b{suffix}", read.with_pixels(read.page_pixels))
    again = read_image(tmp_path / f"b{suffix}")
    np.testing.assert_array_equal(again.pixels, read.pixels)
    if suffix == ".webp":
        for image in (read, again):
            assert (image.metadata["delay"], image.metadata["loop"]) == ([40, 50, 60], 3)


@pytest.mark.parametrize("quality", [30, 75, 83, 90, 97, 100])
def test_the_quality_and_the_sampling_of_a_jpeg_are_kept(tmp_path, quality):
    for sampling in ("on", "off"):
        data = vips_image(smooth_pixels((64, 64, 3))).jpegsave_buffer(Q=quality, subsample_mode=sampling)
        assert jpeg_quality(lambda offset, count: data[offset : offset + count]) == quality  # noqa: B023
        (tmp_path / "a.jpg").write_bytes(data)
        image = read_image(tmp_path / "a.jpg")
        write_image(tmp_path / "b.jpg", image)
        written = (tmp_path / "b.jpg").read_bytes()
        assert jpeg_quality(lambda offset, count: written[offset : offset + count]) == max(quality, 75)  # noqa: B023
        again = pyvips.Image.new_from_file(str(tmp_path / "b.jpg"), revalidate=True)
        assert again.get("jpeg-chroma-subsample") == ("4:2:0" if sampling == "on" else "4:4:4")


def test_a_lossless_webp_stays_lossless(tmp_path):
    pixels = random_pixels((20, 20, 3))
    (tmp_path / "a.webp").write_bytes(vips_image(pixels).webpsave_buffer(lossless=True))
    image = read_image(tmp_path / "a.webp")
    np.testing.assert_array_equal(image.pixels, pixels)
    write_image(tmp_path / "b.webp", image)
    np.testing.assert_array_equal(read_image(tmp_path / "b.webp").pixels, pixels)


def test_colors_that_alpha_hides_stay_in_a_lossless_webp(tmp_path):
    pixels = random_pixels((20, 20, 4))
    pixels[5:15, 5:15, 3] = 0
    (tmp_path / "a.webp").write_bytes(vips_image(pixels).webpsave_buffer(lossless=True, exact=True))
    write_image(tmp_path / "b.webp", read_image(tmp_path / "a.webp"))
    np.testing.assert_array_equal(read_image(tmp_path / "b.webp").pixels, pixels)


def test_several_images_in_one_portable_map(tmp_path):
    one = encode(random_pixels((4, 5)), "pnm")
    for gap in (b"", b"\n", b" \r\n"):
        (tmp_path / "a.pgm").write_bytes(one + gap + one)
        with pytest.raises(ImageError, match=r"a\.pgm: the file holds several images; split it"):
            read_image(tmp_path / "a.pgm")
    for rest in (b"\n", b"P5", b"P7 x", b"junk"):  # what follows is none
        np.testing.assert_array_equal(decode_pnm(one + rest), random_pixels((4, 5)))


def test_the_first_image_of_a_jpeg_with_several_is_kept_and_said_so(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("dae_runtime.images.files._further_images_told", threading.Event())
    caplog.set_level(logging.INFO, "dae_runtime")
    one = encode(smooth_pixels((16, 16)), "jpeg")
    index = b"MPF\0II*\0\x08\0\0\0" + bytes(20)
    data = one[:2] + b"\xff\xe2" + struct.pack(">H", 2 + len(index)) + index + one[2:] + one
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(data)
        assert read_image(tmp_path / name).pixels.shape == (16, 16)
    records = [record for record in caplog.records if record.name.startswith("dae_runtime")]
    assert [record.levelname for record in records] == ["WARNING", "INFO"]  # a folder from a phone is told of once
    assert "a.jpg: holds further images" in caplog.text


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_pgm_is_gray_and_a_ppm_is_in_color(tmp_path, dtype):
    gray, color = random_pixels((4, 5), dtype), random_pixels((4, 5, 3), dtype)
    with pytest.raises(ImageError, match=r"a\.pgm: PGM holds gray alone.*\(4, 5, 3\).*PPM or PNG"):
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


@pytest.mark.parametrize("suffix", [".ppm", ".bmp", ".png", ".tif"])
def test_a_system_that_reads_little_at_a_time(tmp_path, monkeypatch, suffix):
    """Linux reads no more than 2 GiB at once."""
    write_image(tmp_path / f"a{suffix}", Image(random_pixels((9, 8, 3))))
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda file, count, offset: real(file, min(count, 7), offset))
    np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}").pixels, random_pixels((9, 8, 3)))


def test_a_file_is_not_given_the_reason_of_another():
    """libvips collects the errors of all threads in one text."""
    foreign = ["unable to call pngload_source", "  tiff2vips: Bad magic", "system error: No space left on device"]
    cases = (
        ([*foreign, "vipspng: libpng read error", "pngload_source: load error"], "png", "vipspng: libpng read error"),
        ([*foreign, "VipsJpeg: premature end of JPEG image"], "png", "libvips gave no reason"),
        ([*foreign, "VipsJpeg: premature end of JPEG image"], "jpeg", "VipsJpeg: premature end of JPEG image"),
        (["unable to write", "vips_tracked: out of memory"], "webp", "vips_tracked: out of memory"),
        (["unable to call tiffload_source", "  tiff2vips: a", "tiffload_source: load error"], "tiff", "tiff2vips: a"),
        ([], "png", "libvips gave no reason"),
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
        assert read_image(tmp_path / name, max_pixels=60_000, admit=asked.append).pixels.shape[:2] == (300, 200)
        assert asked[0] >= 60_000
        with pytest.raises(ImageError, match=r"200 x 300 pixels.*0\.06 million"):
            read_image(tmp_path / name, max_pixels=59_999, admit=pytest.fail)


def test_a_png_that_cannot_hold_what_it_announces(tmp_path, run_python):
    """60,000 x 8,000 pixels over no data: an error before a single byte of them is allocated."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 8_000, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(bytes(1000))
    parts = [struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (header, data, b"IEND")]
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    with pytest.raises(ImageError, match=r"announces 60000 x 8000 pixels, which \d+ bytes of PNG cannot hold"):
        read_image(path, admit=pytest.fail)


def test_a_full_disk_is_our_error():
    with Path("/dev/full").open("r+b", buffering=0) as full:
        for kind in ("png", "jpeg", "tiff", "webp", "bmp", "pnm"):
            with pytest.raises((ImageError, OSError)):
                encode(random_pixels((50, 60, 3)), kind, target=full.fileno())


def test_an_image_through_a_pipe(tmp_path):
    write_image(tmp_path / "a.png", Image(random_pixels((9, 8))))
    os.mkfifo(tmp_path / "pipe.png")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe.png").write_bytes((tmp_path / "a.png").read_bytes()))
    writer.start()
    np.testing.assert_array_equal(read_image(tmp_path / "pipe.png").pixels, random_pixels((9, 8)))
    writer.join()
