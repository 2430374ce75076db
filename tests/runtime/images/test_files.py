"""Image files: found, read, and written as what they were."""

from __future__ import annotations

import itertools
import logging
import os
import re
import socket
import struct
import subprocess
import sys
import threading

import numpy as np
import pytest
import pyvips

from builders import random_pixels
from dae_runtime.errors import ImageError, OutputExistsError
from dae_runtime.images import Image, encode, find_images, read_image, write_image
from dae_runtime.images.headers import jpeg_quality

LOSSLESS = (".png", ".tif", ".tiff")


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
    for name in ("b.PNG", "a.jpg", "ä ö.tiff", odd, "notes.txt", ".hidden.png", "sub/c.webp", ".git/d.png", "x.psd"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "dangling.png").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "itself.png").symlink_to("itself.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "to-pipe.png").symlink_to("pipe.png")
    flat = {"b.PNG", "a.jpg", "ä ö.tiff", odd, "dangling.png", "itself.png", "to-pipe.png"}
    assert {str(path.relative_to(tmp_path)) for path in find_images(tmp_path)} == flat
    found = find_images(tmp_path, recursive=True)
    assert {str(path.relative_to(tmp_path)) for path in found} == {*flat, "sub/c.webp"}
    assert found == sorted(found)
    with pytest.raises(ImageError, match="cannot be read"):
        find_images(tmp_path / "none")


def test_an_array_is_not_taken_for_an_image(tmp_path):
    with pytest.raises(ImageError, match=r"expected an Image, received ndarray\. Write Image\(pixels\)"):
        write_image(tmp_path / "a.png", np.zeros((4, 4), np.uint8))
    assert not list(tmp_path.iterdir())


def test_links_to_folders_are_passed_over_and_named(tmp_path, caplog):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "a.png").touch()
    (tmp_path / "in" / "album").symlink_to(tmp_path)
    assert find_images(tmp_path / "in", recursive=True) == [tmp_path / "in" / "a.png"]
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.WARNING, f"{tmp_path / 'in'}: passed over: 1 linked folder")
    caplog.clear()
    find_images(tmp_path / "in")  # sub-folders are not looked at
    assert not caplog.records


def test_images_of_unsupported_kinds_are_logged(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("dae_runtime.images.names._is_installed", lambda package: False)
    names = ["1.CR2", "2.CR2", "3.cr2", "4.NEF", "x.psd", "b.txt", "README", "a.png", "dae-manifest.jsonl", ".hidden.txt"]
    for name in names:
        (tmp_path / name).touch()
    assert find_images(tmp_path) == [tmp_path / "a.png"]
    (record,) = caplog.records
    kinds = r"3 \.(CR2|cr2), 1 \.NEF \(camera raw: .*\), 1 \.psd \(convert .*\), 1 (\.txt|without a suffix), 1 \S+.*"
    assert re.fullmatch(rf"{tmp_path}: passed over: {kinds}", record.getMessage())
    assert record.levelno == logging.WARNING
    caplog.clear()
    assert find_images(tmp_path, warn=False) == [tmp_path / "a.png"]
    assert caplog.records == []


@pytest.mark.parametrize("suffix", [".tif", ".webp"])
@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 3), (6, 5, 4)])
def test_pages_are_read_and_written(tmp_path, suffix, shape):
    if suffix == ".webp" and shape == (6, 5):
        shape = (6, 5, 3)  # WebP has no gray
    pages = random_pixels((3, *shape))
    pages[..., -1] |= 1  # WebP may choose the color of a transparent pixel
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


def test_the_first_image_of_a_jpeg_with_several_is_kept_and_logged(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("dae_runtime.images.files._warned_multi_image", threading.Event())
    caplog.set_level(logging.INFO, "dae_runtime")
    one = encode(smooth_pixels((16, 16)), "jpeg")
    index = b"MPF\0II*\0\x08\0\0\0" + bytes(20)
    data = one[:2] + b"\xff\xe2" + struct.pack(">H", 2 + len(index)) + index + one[2:] + one
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(data)
        assert read_image(tmp_path / name).pixels.shape == (16, 16)
    records = [record for record in caplog.records if record.name.startswith("dae_runtime")]
    assert [record.levelname for record in records] == ["WARNING", "INFO"]  # one warning per process
    assert "a.jpg: holds several images" in caplog.text


@pytest.mark.parametrize("suffix", [".ppm", ".bmp", ".png", ".tif"])
def test_a_system_that_reads_little_at_a_time(tmp_path, monkeypatch, suffix):
    """Linux reads no more than 2 GiB at once."""
    write_image(tmp_path / f"a{suffix}", Image(random_pixels((9, 8, 3))))
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda file, count, offset: real(file, min(count, 7), offset))
    np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}").pixels, random_pixels((9, 8, 3)))


@pytest.mark.parametrize("link", [False, True])
def test_only_regular_files_are_opened(tmp_path, link):
    """A pipe without a writer would never answer, and a device may act on being opened."""
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    (tmp_path / "folder").mkdir()
    for target, words in (("pipe", "a pipe"), ("socket", "a socket"), ("folder", "a folder"), ("/dev/zero", "a device")):
        path = tmp_path / "a.png" if link else tmp_path / target
        if link:
            path.symlink_to(tmp_path / target)
        with pytest.raises(ImageError, match=f"cannot be read: it is {words}, not a regular file"):
            read_image(path)
        if link:
            path.unlink()


def test_threads_that_first_meet_libvips_together_all_read(tmp_path):
    write_image(tmp_path / "a.png", Image(random_pixels((9, 7, 3))))
    code = (
        "import sys, threading\nfrom dae_runtime.images import read_image\nsys.setswitchinterval(1e-6)\n"
        "start, done = threading.Barrier(8), []\n"
        "def read():\n    start.wait()\n    done.append(read_image(sys.argv[1]).pixels.shape)\n"
        "threads = [threading.Thread(target=read) for _ in range(8)]\n"
        "[t.start() for t in threads]\n[t.join() for t in threads]\nassert done == [(9, 7, 3)] * 8, done\n"
    )
    for _ in range(3):
        subprocess.run([sys.executable, "-c", code, tmp_path / "a.png"], check=True)
