"""The coefficients of the measured level: made from synthetic noise, and good for more of it."""

from __future__ import annotations

import math
import runpy
from pathlib import Path

import numpy as np
import pytest

from builders import invoke
from dae_runtime.images import Image, write_image
from dae_runtime.pixels import level_model
from dae_tools.camera_noise import add_correlated, add_mosaic, add_white, blur
from dae_tools.fit_level import command, fit


@pytest.fixture(scope="module")
def photograph():
    rng = np.random.default_rng(1)
    return np.clip(0.5 + 2 * blur(rng.standard_normal((330, 340, 3), dtype=np.float32), 9) * 0.5, 0.05, 0.95).astype(
        np.float32
    )


@pytest.mark.parametrize(("add", "tolerance"), [(add_white, 0.03), (add_correlated, 0.25), (add_mosaic, 0.25)])
def test_noise_has_the_level_that_was_asked_for(photograph, add, tolerance):
    for seed in range(4):
        noisy = add(np.random.default_rng(seed), photograph, 10 / 255)
        assert noisy.shape == photograph.shape
        assert noisy.dtype == np.float32
        assert noisy.min() >= 0
        assert noisy.max() <= 1
        assert 255 * math.sqrt(np.mean(np.square(noisy - photograph))) == pytest.approx(10, rel=tolerance)
        np.testing.assert_array_equal(noisy, add(np.random.default_rng(seed), photograph, 10 / 255))


def test_noise_of_cameras_is_smooth(photograph):
    def likeness(add):
        found = []
        for seed in range(6):
            noise = add(np.random.default_rng(seed), photograph, 10 / 255) - photograph
            found.append(np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1])
        return np.mean(found)

    assert abs(likeness(add_white)) < 0.02
    assert likeness(add_correlated) > 0.2
    assert likeness(add_mosaic) > 0.3


def test_a_fit_finds_a_polynomial_again():
    rng = np.random.default_rng(0)
    rows = rng.normal(0, 1, (400, 7))
    target = 2 + 0.5 * rows[:, 0] - 0.2 * rows[:, 3] * rows[:, 4]
    model = fit(rows, np.exp(target))
    errors = [
        model.log_level(row) - max(log, math.log(level_model.LEAST_LEVEL)) for row, log in zip(rows, target, strict=True)
    ]
    assert np.sqrt(np.mean(np.square(errors))) < 0.1


def test_the_command_writes_the_module(tmp_path, photograph):
    write_image(tmp_path / "a.png", Image(np.rint(255 * photograph).astype(np.uint8)))
    output = tmp_path / "level_model.py"
    source = Path(level_model.__file__).read_text("utf-8")
    output.write_text(source.replace("from .arrays", "from dae_runtime.pixels.arrays"))
    result = invoke(command, tmp_path, "-o", output, "--samples", 200)
    assert result.exit_code == 0, result.output
    made, kept = runpy.run_path(str(output))["MODEL"], level_model.MODEL
    assert (len(made.linear), len(made.quadratic)) == (len(kept.linear), len(kept.quadratic)) == (11, 66)
    assert made != kept


def test_folders_without_photographs_are_refused(tmp_path):
    result = invoke(command, tmp_path, "-o", tmp_path / "x.py")
    assert "no color photograph of at least 320 pixels" in str(result.exception)
