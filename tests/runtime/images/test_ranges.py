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
