from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import pyvips

from builders import random_pixels
from dae_runtime import Denoiser, FolderRequest, InputError, run_folder
from dae_runtime.errors import ImageError, OutputExistsError
from dae_runtime.images import decode, encode, read_image, write_image
from dae_runtime.images.ranges import parse_range

LIMITS = {
    "float32": (-2.5, 7.5),
    "int16": (-1024, 3071),
    "int32": (-(2**20), 2**20),
    "uint32": (0, 2**20),
}
FORMATS = {"float32": "float", "int16": "short", "int32": "int", "uint32": "uint"}


def tiff_of(values):
    bands = values.shape[2] if values.ndim == 3 else 1
    image = pyvips.Image.new_from_memory(values.tobytes(), values.shape[1], values.shape[0], bands, FORMATS[values.dtype.name])
    return bytes(image.copy(interpretation="b-w" if bands == 1 else "srgb").tiffsave_buffer())


def values_of(name, shape):
    low, high = LIMITS[name]
    return (low + (high - low) * (random_pixels(shape, np.uint16) / 65535)).astype(name)


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 3)])
def test_values_come_back_in_their_type_and_scale(tmp_path, name, shape):
    values, (low, high) = values_of(name, shape), LIMITS[name]
    (tmp_path / "a.tif").write_bytes(tiff_of(values))
    image = read_image(tmp_path / "a.tif", value_range=(low, high))
    np.testing.assert_allclose(image.pixels, (values.astype(float) - low) / (high - low), atol=1e-6)
    write_image(tmp_path / "b.tif", image)
    again = pyvips.Image.new_from_file(str(tmp_path / "b.tif"))
    assert again.format == FORMATS[name]
    np.testing.assert_allclose(
        again.numpy().reshape(shape), values, rtol=0, atol=max(1e-6 * (high - low), values.dtype.kind != "f")
    )


@pytest.mark.parametrize("name", LIMITS)
def test_without_a_range_they_are_refused_by_the_flag(name):
    with pytest.raises(ImageError, match="--range LO-HI"):
        decode(tiff_of(values_of(name, (9, 7))))


@pytest.mark.parametrize(
    ("value", "words"), [(np.nan, "1 of 63 values are NaN"), (np.inf, "NaN or inf"), (9, "wider --range")]
)
def test_values_that_would_be_lost_are_refused(value, words):
    values = np.zeros((9, 7), np.float32)
    values[3, 4] = value
    with pytest.raises(ImageError, match=words):
        decode(tiff_of(values), value_range=(0, 1))


def test_only_a_tiff_holds_them():
    decoded = decode(tiff_of(values_of("float32", (9, 7))), value_range=LIMITS["float32"])
    with pytest.raises(ImageError, match="PNG cannot hold float"):
        encode(decoded.pixels, "png", decoded.metadata)


@pytest.mark.parametrize(
    ("text", "found"), [("0-4095", (0, 4095)), ("-1024:3071", (-1024, 3071)), ("-1.5--1", (-1.5, -1)), ("0-1e-3", (0, 1e-3))]
)
def test_a_range_as_text(text, found):
    assert parse_range(text) == found


@pytest.mark.parametrize("text", ["", "5", "1-1", "3:2", "a-b", "0-inf", "nan-1", "0-1-2"])
def test_text_that_is_no_range(text):
    with pytest.raises(InputError, match=r"LO-HI|below white"):
        parse_range(text)


def test_a_folder_of_measurements(tmp_path):
    y, x = np.mgrid[:64, :64]
    clean = 1000 + 400 * np.sin(x / 9) * np.cos(y / 11)
    noisy = (clean + np.random.default_rng(0).normal(0, 200, clean.shape)).astype(np.int16)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.tif").write_bytes(tiff_of(noisy))
    with Denoiser(device="cpu") as denoiser:
        request = FolderRequest(tmp_path / "in", tmp_path / "out", value_range=(-1024, 3071), resume=True)
        assert run_folder(request, denoiser).done == 1
        assert run_folder(request, denoiser).skipped == 1
        with pytest.raises(OutputExistsError, match="the range -1024:3071 instead of 0:3071"):
            run_folder(replace(request, value_range=(0, 3071)), denoiser)
        refused = run_folder(FolderRequest(tmp_path / "in", tmp_path / "other"), denoiser)
    assert "--range LO-HI" in refused.failures[0].reason
    result = pyvips.Image.new_from_file(str(tmp_path / "out" / "a.tif")).numpy()
    assert np.mean((result - clean) ** 2) < 0.2 * np.mean((noisy - clean) ** 2)
    for wrong in ((1, 0), (0,), "ab", (0, float("inf"))):
        with pytest.raises(InputError, match="value_range"):
            FolderRequest("a", "b", value_range=wrong)


def test_black_and_white_themselves_are_in_the_range():
    values = np.array([[-0.3, 0, 0.3]], np.float32).repeat(3, axis=0)  # -0.3 and 0.3 have no float32; the next are beyond
    pixels = decode(tiff_of(values), value_range=(-0.3, 0.3)).pixels
    np.testing.assert_allclose([pixels.min(), pixels.max()], [0, 1], atol=1e-6)


@pytest.mark.parametrize("name", [name for name in LIMITS if name != "float32"])
def test_a_range_beyond_the_type_wraps_no_pixel(tmp_path, name):
    limits = np.iinfo(name)
    (tmp_path / "a.tif").write_bytes(tiff_of(np.array([[limits.min, limits.max]], name).repeat(3, axis=0)))
    image = read_image(tmp_path / "a.tif", value_range=(2.0 * limits.min - 9, 2.0 * limits.max))
    write_image(tmp_path / "b.tif", image.with_pixels(image.pixels + np.float32([-1e-3, 1e-3])))
    assert pyvips.Image.new_from_file(str(tmp_path / "b.tif")).numpy()[0].tolist() == [limits.min, limits.max]


def test_the_report_shows_them(tmp_path, blur_file):
    (tmp_path / "in").mkdir()
    for name in LIMITS:
        (tmp_path / "in" / f"{name}.tif").write_bytes(tiff_of(values_of(name, (24, 24))))
    low, high = -(2.0**20) - 0.1, 2.0**20 + 0.1
    request = FolderRequest(
        tmp_path / "in",
        tmp_path / "out",
        value_range=(low, high),
        reference=tmp_path / "in",
        report=tmp_path / "r.html",
    )
    with Denoiser(blur_file, "cpu", 1) as denoiser:
        assert run_folder(request, denoiser).compared == len(LIMITS)
    page = (tmp_path / "r.html").read_text()
    assert page.count('<img class="after"') == len(LIMITS)
    assert "Not shown" not in page


def test_a_run_that_was_cut_off_continues_with_its_range(tmp_path, blur_file):
    (tmp_path / "in").mkdir()
    for number in range(3):
        (tmp_path / "in" / f"{number}.tif").write_bytes(tiff_of(values_of("int16", (24, 24))))
    request = FolderRequest(tmp_path / "in", tmp_path / "out", value_range=LIMITS["int16"])
    with Denoiser(blur_file, "cpu", 1) as denoiser:
        first = run_folder(request, denoiser, cancel=lambda: (tmp_path / "out" / "0.tif").exists())
        assert first.cancelled
        outcome = run_folder(replace(request, resume=True), denoiser)
    assert (outcome.skipped, outcome.done) == (first.done, 3 - first.done)
