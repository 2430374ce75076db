"""Pictures of the controls."""

from __future__ import annotations

import re

import numpy as np
import pytest

from builders import invoke, make_model, random_pixels
from dae_runtime import Denoiser, InputError
from dae_runtime.images import Image, read_image, write_image
from dae_runtime.pixels.arrays import convert
from dae_tools.camera_noise import add_white
from dae_tools.controls import command, draw


@pytest.fixture
def photo(tmp_path):
    smooth = random_pixels((6, 8, 3), seed=5).repeat(12, axis=0).repeat(12, axis=1)
    write_image(tmp_path / "photo.png", Image(smooth))
    return smooth


def test_a_strip_shows_noisy_the_values_and_clean(photo, tmp_path):
    noisy = convert(add_white(np.random.default_rng(0), convert(photo, np.float32), 0.1), np.uint8)
    with Denoiser(make_model(channels=3, gain=5.0), "cpu", 1) as denoiser:
        pictures = list(draw(denoiser, ("color", "sigma"), photo, noisy, (8, 16), 20, 2))
        assert [name for name, *_ in pictures] == ["sigma", "color"]
        for name, values, strip in pictures:
            assert strip.shape == (40, 5 * 40 + 4 * 4, 3)
            shown = [strip[::2, start : start + 40 : 2] for start in range(0, 220, 44)]
            expected = [noisy, *(denoiser.denoise(noisy, **{name: value}) for value in values), photo]
            for crop, image in zip(shown, expected, strict=True):
                np.testing.assert_array_equal(crop, image[8:28, 16:36])
        true = float(np.sqrt(np.mean(np.square(convert(noisy, np.float32) - convert(photo, np.float32)))))
        assert pictures[0][1] == pytest.approx([0.5 * true, true, 2 * true])


def test_the_command_writes_what_the_model_has(photo, tmp_path):
    for name, options in (("told", {"gain": 5.0}), ("blind", {})):
        (tmp_path / f"{name}.onnx").write_bytes(make_model(channels=3, **options))
        (tmp_path / name).mkdir()
        words = ("-m", tmp_path / f"{name}.onnx", "-o", tmp_path / name, "--side", 24)
        result = invoke(command, tmp_path / "photo.png", *words)
        assert result.exit_code == 0, result.output
        found = re.findall(r"control-(\w+)\.webp: noisy, --\w+ [\d., ]+, clean; \d+ kB", result.output)
        assert found == [*(["sigma"] if name == "told" else []), "luma", "color", "detail"]
        for control in found:
            assert read_image(tmp_path / name / f"control-{control}.webp").pixels.shape == (48, 5 * 48 + 4 * 4, 3)
    assert isinstance(invoke(command, tmp_path / "photo.png", *words, "--show", "sigma").exception, InputError)
    assert invoke(command, tmp_path / "photo.png", *words, "--at", 60, 0).exit_code == 2
