"""HEIC as phones write it: files made by the library that reads them, here through its encoder."""

from __future__ import annotations

import contextlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest

from builders import damaged_copies
from dae_runtime import ImageError
from dae_runtime.images import Image, decode, is_image_name, read_image, write_image
from dae_runtime.images.exif import orientation_of
from dae_runtime.images.tags import read_directories

PROFILE = bytes(128)
EXIF = b"II*\0\x08\0\0\0\x02\0\x12\x01\x03\0\x01\0\0\0%c\0\0\0\x3b\x01\x02\0\x04\0\0\0Ann\0\0\0\0\0"


def smooth(height: int = 60, width: int = 80, dtype: type = np.uint8) -> np.ndarray:
    steps = np.linspace(0.1, 0.9, width) * np.linspace(0.4, 1, height)[:, None]
    return (np.stack([steps, steps * 0.8, steps * 0.6], -1) * np.iinfo(dtype).max).round().astype(dtype)


def heic(pixels: np.ndarray, **options: Any) -> bytes:
    mode = ("RGBA" if pixels.shape[2] == 4 else "RGB") + (";16" if pixels.dtype == np.uint16 else "")
    file = pillow_heif.from_bytes(mode=mode, size=pixels.shape[1::-1], data=pixels.tobytes())
    target = BytesIO()
    file.save(target, quality=95, chroma=444, **options)
    return target.getvalue()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("alpha", [False, True])
def test_pixels_and_bits(dtype, alpha):
    pixels = smooth(dtype=dtype)
    if alpha:
        pixels = np.dstack([pixels, np.full(pixels.shape[:2], np.iinfo(dtype).max, dtype)])
    decoded = decode(heic(pixels))
    assert (decoded.kind, decoded.pixels.dtype, decoded.pixels.shape) == ("heic", dtype, pixels.shape)
    np.testing.assert_allclose(decoded.pixels / np.iinfo(dtype).max, pixels / np.iinfo(dtype).max, atol=0.03)


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, -1), (8, 1)])
def test_an_image_is_upright_and_keeps_its_exif(tmp_path, orientation, turns):
    upright = np.rot90(smooth(), turns)
    (tmp_path / "a.heic").write_bytes(heic(smooth(), exif=b"Exif\0\0" + EXIF % orientation))
    image = read_image(tmp_path / "a.heic")
    np.testing.assert_allclose(image.pixels / 255, upright / 255, atol=0.03)
    assert orientation_of(image.metadata["exif-data"]) == 1
    assert write_image(tmp_path / "a.png", image) == ()
    data = read_image(tmp_path / "a.png").metadata["exif-data"]
    (directory,) = read_directories(lambda offset, count: data[offset : offset + count])
    assert directory[315].data == b"Ann\0"


@pytest.mark.parametrize("share", [0.01, 0.3, 0.7, 0.99])
def test_a_truncated_file_is_refused(tmp_path, share):
    data = heic(smooth())
    (tmp_path / "a.heic").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ImageError, match=r"a\.heic: the (HEIC data is damaged, truncated|content is no)"):
        read_image(tmp_path / "a.heic")


def test_a_limit_holds_before_pixels_are_allocated(tmp_path):
    with pytest.raises(ImageError, match="80 x 60 pixels exceed the limit"):
        decode(heic(smooth()), max_pixels=80 * 60 - 1)


@pytest.mark.parametrize("transfer", [16, 18])
def test_hdr_is_refused_by_name(transfer):
    file = pillow_heif.from_bytes(mode="RGB", size=(80, 60), data=smooth().tobytes())
    target = BytesIO()
    file.save(target, quality=95, transfer_characteristics=transfer, save_nclx_profile=True)
    with pytest.raises(ImageError, match=r"is HDR \((PQ|HLG)\)"):
        decode(target.getvalue())


def test_damaged_bytes_end_in_an_image_or_our_error():
    for damaged in damaged_copies(heic(smooth())):
        with contextlib.suppress(ImageError):
            assert decode(damaged, max_pixels=10**6).pixels.ndim in (2, 3)


@pytest.mark.slow
def test_a_folder_of_a_phone(tmp_path, blur, blur_file, dae_run):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "IMG_1.HEIC").write_bytes(heic(smooth()))
    write_image(folder / "IMG_2.JPG", Image(smooth()))
    assert is_image_name(folder / "IMG_1.HEIC")
    done = dae_run("-m", blur_file, folder, tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    expected = blur.denoise(read_image(folder / "IMG_1.HEIC").pixels)
    np.testing.assert_array_equal(read_image(tmp_path / "out" / "IMG_1.png").pixels, expected)


WITHOUT = """
import importlib.util as util
find = util.find_spec
util.find_spec = lambda name, *more: None if name == "pillow_heif" else find(name, *more)
from dae_runtime.cli import main
main()
"""


@pytest.mark.slow
def test_without_the_library_files_are_passed_over_and_named_with_the_remedy(tmp_path: Path, blur_file, run_python):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "IMG_1.HEIC").write_bytes(heic(smooth()))
    write_image(tmp_path / "in" / "a.png", Image(smooth()))
    done = run_python("-c", WITHOUT, "-m", blur_file, tmp_path / "in", tmp_path / "out")
    assert done.returncode == 0
    assert "passed over: 1 .HEIC (install the extra `heif` (pip install '.[heif]'" in done.stderr
    named = run_python("-c", WITHOUT, "-m", blur_file, tmp_path / "in" / "IMG_1.HEIC", tmp_path / "other")
    assert named.returncode == 3
    assert "IMG_1.HEIC: the content is a HEIC image; install the extra `heif`" in named.stderr
