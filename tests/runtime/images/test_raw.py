"""Camera raw: developed as the camera saw it, upright, with its metadata. LibRaw reads DNGs made here, tag by tag."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from builders import damaged_copies
from dae_runtime import ImageError
from dae_runtime.images import Image, decode, encode, find_images, is_image_name, read_image, write_image
from dae_runtime.images.exif import orientation_of
from dae_runtime.images.tags import EXIF_IFD, read_directories
from raw_files import dng, mosaic

HEIGHT, WIDTH = 48, 64
ISO = 0x8827


def scene() -> np.ndarray:
    """Return (H, W, 3) linear light: a ramp to the right, gray above and orange below; clipped at the right edge."""
    light = np.repeat(np.broadcast_to(np.linspace(0.02, 0.9, WIDTH), (HEIGHT, WIDTH))[..., None], 3, axis=2).copy()
    light[HEIGHT // 2 :] *= (1, 0.5, 0.25)
    light[:, -4:] = 3
    return light


def srgb(light: np.ndarray) -> np.ndarray:
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def inner(pixels: np.ndarray) -> np.ndarray:
    """Leave out where the mosaic has an edge."""
    return np.concatenate([pixels[6 : HEIGHT // 2 - 6, 6:-10], pixels[HEIGHT // 2 + 6 : -6, 6:-10]])


def exif_of(data: bytes) -> dict:
    (directory,) = read_directories(lambda offset, count: data[offset : offset + count])
    return dict(directory)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "IMG_1.DNG"
    path.parent.mkdir()
    path.write_bytes(dng(mosaic(scene())))
    return path


def test_colors_are_those_of_the_scene(file):
    image = read_image(file)
    assert (image.kind, image.pixels.dtype, image.pixels.shape) == ("raw", np.uint16, (HEIGHT, WIDTH, 3))
    np.testing.assert_allclose(inner(image.pixels / 65535), inner(srgb(scene())), atol=0.003)
    assert image.pixels[:, -1].min() > 65000
    assert image.metadata["icc-profile-data"][36:40] == b"acsp"


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, -1), (8, 1)])
def test_an_image_is_upright(orientation, turns):
    upright = decode(dng(mosaic(scene()))).pixels
    turned = decode(dng(mosaic(scene()), orientation))
    np.testing.assert_array_equal(turned.pixels, np.rot90(upright, turns))
    assert orientation_of(turned.metadata["exif-data"]) == 1


@pytest.mark.parametrize("suffix", [".tif", ".png", ".jpg", ".webp"])
def test_exif_and_profile_are_kept(tmp_path, file, suffix):
    image = read_image(file)
    exif = exif_of(image.metadata["exif-data"])
    assert exif[315].data == b"Ann\0"
    assert exif[EXIF_IFD].directory[ISO].values == [800]
    lost = write_image(tmp_path / f"a{suffix}", image)
    assert lost == ()
    again = read_image(tmp_path / f"a{suffix}")
    kept = exif_of(again.metadata["exif-data"])
    assert (kept[315].data, kept[EXIF_IFD].directory[ISO].values) == (b"Ann\0", [800])
    assert again.metadata["icc-profile-data"] == image.metadata["icc-profile-data"]
    assert again.pixels.dtype == (np.uint16 if suffix in (".tif", ".png") else np.uint8)


def test_camera_raw_is_known_by_its_content(tmp_path, file):
    file.rename(tmp_path / "named.tif")
    assert read_image(tmp_path / "named.tif").kind == "raw"
    write_image(tmp_path / "plain.tif", Image(np.zeros((5, 6, 3), np.uint16)))
    assert read_image(tmp_path / "plain.tif").kind == "tiff"


def test_raw_files_are_found(file):
    (file.parent / ".hidden.dng").touch()
    (file.parent / "b.NEF").touch()
    assert [path.name for path in find_images(file.parent)] == ["IMG_1.DNG", "b.NEF"]
    assert not is_image_name("a.txt")


@pytest.mark.parametrize("cut", [0, 7, 100, 600, 2000, -2])
def test_damaged_files_are_refused(tmp_path, file, cut):
    (tmp_path / "cut.dng").write_bytes(file.read_bytes()[:cut])
    with pytest.raises(ImageError, match=r"cut\.dng: the camera raw data is (damaged, )?truncated"):
        read_image(tmp_path / "cut.dng")


def test_a_png_named_as_camera_raw_is_refused(tmp_path):
    (tmp_path / "a.nef").write_bytes(encode(np.zeros((5, 6), np.uint8), "png"))
    with pytest.raises(ImageError, match=r"a\.nef: the camera raw data is damaged, truncated or of an unknown camera"):
        read_image(tmp_path / "a.nef")


def test_a_limit_holds_before_pixels_are_allocated(file):
    with pytest.raises(ImageError, match=f"{WIDTH} x {HEIGHT} pixels exceed the limit"):
        read_image(file, max_pixels=HEIGHT * WIDTH - 1)
    asked: list[int] = []
    read_image(file, before_allocate=asked.append)
    assert len(asked) == 1
    assert asked[0] >= HEIGHT * WIDTH * 3 * 2


def test_damaged_bytes_end_in_an_image_or_our_error():
    for damaged in damaged_copies(dng(mosaic(scene()))):
        with contextlib.suppress(ImageError):
            assert decode(damaged, max_pixels=10**6).pixels.ndim in (2, 3)


@pytest.mark.slow
@pytest.mark.parametrize(("options", "name"), [((), "IMG_1.tif"), (("--format", "png", "--suffix", "_x"), "IMG_1_x.png")])
def test_a_folder_of_camera_raw(tmp_path, file, blur, blur_file, dae_run, options, name):
    """With the JPEG of the camera beside it, which has the same stem unless both become PNG."""
    write_image(file.with_name("IMG_2.JPG" if options else "IMG_1.JPG"), Image(np.zeros((9, 9, 3), np.uint8)))
    command = ("-m", blur_file, file.parent, tmp_path / "out", *options)
    planned = dae_run("--dry-run", *command)
    assert f"{file} -> {tmp_path}/out/{name}\n" in planned.stdout
    done = dae_run(*command)
    assert (done.returncode, done.stderr) == (0, "")
    written = read_image(tmp_path / "out" / name)
    assert written.pixels.dtype == np.uint16
    np.testing.assert_array_equal(written.pixels, blur.denoise(read_image(file).pixels))
    assert dae_run(*command).stderr == "2 kept from before, nothing to do\n"


@pytest.mark.slow
def test_standard_input(file, blur_file):
    line = [sys.executable, "-m", "dae_runtime", "-m", str(blur_file), "-", "-"]
    done = subprocess.run(line, input=file.read_bytes(), capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert decode(done.stdout).kind == "tiff"


WITHOUT = """
import importlib.util as util
find = util.find_spec
util.find_spec = lambda name, *more: None if name == "rawpy" else find(name, *more)
from dae_runtime.cli import main
main()
"""


@pytest.mark.slow
def test_without_rawpy_files_are_passed_over_and_named_with_the_remedy(tmp_path, file, blur_file, run_python):
    write_image(file.with_name("a.png"), Image(np.zeros((9, 9, 3), np.uint8)))
    for extra in (("--dry-run",), ()):
        done = run_python("-c", WITHOUT, "-m", blur_file, file.parent, tmp_path / "out", *extra)
        assert done.returncode == 0
        assert "passed over: 1 .DNG (camera raw: install the extra `raw` (pip install '.[raw]'" in done.stderr
    named = run_python("-c", WITHOUT, "-m", blur_file, file, tmp_path / "other")
    assert named.returncode == 3
    assert "IMG_1.DNG: the content is camera raw; install the extra `raw`" in named.stderr
