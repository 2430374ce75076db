"""The default models: which one denoises an image depends on its colors and its noise."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np
import pytest

from builders import BLUR, make_model, random_pixels
from dae_runtime.contract import SigmaInput
from dae_runtime.images import Image, write_image
from dae_runtime.inference import Denoiser
from dae_runtime.models import bundled

COLOR, GRAY = (3, 40, 48, 3), (3, 40, 48)
LEVELS = (4 / 255, 40 / 255, 12 / 255)


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of bundled models: `gray` blurs; `photo` does by the level, up to 20/255; `color` darkens."""
    (tmp_path / "gray.onnx").write_bytes(make_model())
    told = make_model(channels=3, gain=10.0, sigma=SigmaInput(0.0, 20 / 255))
    (tmp_path / "photo.onnx").write_bytes(told)
    (tmp_path / "color.onnx").write_bytes(make_model(BLUR / 2, channels=3))
    monkeypatch.setattr(bundled, "MODEL_FOLDER", tmp_path)
    return tmp_path


def batch(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).random(shape, np.float32)


def one_by_one(model: Path, noisy: np.ndarray, levels: tuple[float, ...] | None) -> list[np.ndarray]:
    with Denoiser(model, "cpu", 1) as denoiser:
        given = [{}] * len(noisy) if levels is None else [{"sigma": level} for level in levels]
        return [denoiser.denoise(image, **more) for image, more in zip(noisy, given, strict=True)]


def test_colors_with_more_noise_than_photo_is_made_for_are_given_to_color(models: Path) -> None:
    noisy = batch(COLOR)
    with Denoiser(device="cpu", threads=1) as denoiser:
        mixed = denoiser.denoise(noisy, sigma=LEVELS)
        assert {model.name for model in denoiser.models_used} == {"tiny"}
        assert len(denoiser.models_used) == 2
    photo, color = one_by_one(models / "photo.onnx", noisy, LEVELS), one_by_one(models / "color.onnx", noisy, None)
    np.testing.assert_array_equal(mixed, [photo[0], color[1], photo[2]])


def test_measured_levels_decide_as_well(models: Path) -> None:
    noisy = np.clip(0.5 + np.random.default_rng(1).normal(0, 60 / 255, (1, 96, 96, 3)), 0, 1).astype(np.float32)
    with Denoiser(device="cpu", threads=1) as denoiser:
        assert denoiser.advise(noisy[0]) > 20 / 255
        np.testing.assert_array_equal(denoiser.denoise(noisy[0]), one_by_one(models / "color.onnx", noisy, None)[0])


def test_gray_images_and_models_by_name_take_one_model(models: Path) -> None:
    noisy = batch(GRAY)
    with Denoiser(device="cpu", threads=1) as denoiser:
        np.testing.assert_array_equal(denoiser.denoise(noisy[0]), one_by_one(models / "gray.onnx", noisy, None)[0])
    with Denoiser("photo", "cpu", 1) as denoiser:  # stronger noise counts as the strongest that it knows
        np.testing.assert_array_equal(
            denoiser.denoise(batch(COLOR)[0], sigma=40 / 255), denoiser.denoise(batch(COLOR)[0], sigma=20 / 255)
        )
        assert len(denoiser.sources) == 1


@pytest.mark.parametrize("missing", ["photo", "color"])
def test_without_one_of_them_the_other_takes_all_colors(models: Path, missing: str) -> None:
    (models / f"{missing}.onnx").unlink()
    noisy, left = batch(COLOR), "color" if missing == "photo" else "photo"
    with Denoiser(device="cpu", threads=1) as denoiser:
        received = denoiser.denoise(noisy[0]) if left == "color" else denoiser.denoise(noisy[0], sigma=0.2)
        assert len(denoiser.sources) == 2
    expected = one_by_one(models / f"{left}.onnx", noisy[:1], (0.2,) if left == "photo" else None)
    np.testing.assert_array_equal(received, expected[0])


def test_a_level_that_no_model_is_told_is_warned_of_once(caplog):
    noisy = random_pixels((32, 32, 3))
    with Denoiser(device="cpu", threads=1) as denoiser, caplog.at_level(logging.WARNING, "dae_runtime"):
        denoiser.denoise(noisy, sigma=0.05)
        denoiser.denoise(noisy, sigma=[0.2])  # a level for each image was measured, as a folder run does
        assert not caplog.records
        for _ in range(2):
            denoiser.denoise(noisy, sigma=0.2)
    (record,) = caplog.records
    assert record.getMessage().startswith("the model color denoises colors with noise above 20 of 255, and finds the level")


@pytest.mark.parametrize(
    ("shape", "sigma", "worked"),
    [(COLOR, 4 / 255, ["photo"]), (COLOR, 40 / 255, ["color"]), (COLOR, LEVELS, ["photo", "color"]), (GRAY, None, ["gray"])],
)
def test_the_models_used_are_those_that_denoised_an_image(shape, sigma, worked):
    """Also where one was asked for its range of levels alone."""
    noisy = batch(shape)[..., None] if shape == GRAY else batch(shape)
    with Denoiser(device="cpu", threads=1) as denoiser:
        assert denoiser.models_used == ()
        denoiser.advise(noisy[0])
        assert denoiser.models_used == ()
        denoiser.denoise(noisy, sigma=sigma)
        assert [model.name for model in denoiser.models_used] == worked
        assert denoiser.model.name == worked[-1]


def test_a_run_names_the_models_that_treated_a_file(tmp_path, dae_run):
    noisy = np.clip(0.5 + np.random.default_rng(1).normal(0, 60 / 255, (96, 96, 3)), 0, 1)
    (tmp_path / "in").mkdir()
    write_image(tmp_path / "in" / "a.png", Image(np.rint(255 * noisy).astype(np.uint8)))
    for done, ending in ((1, r" on cpu with color"), (0, " on cpu")):
        result = dae_run(tmp_path / "in", tmp_path / "out", "--device", "cpu")
        assert re.search(rf"^{done} of 1 file denoised, .* s{ending}$", result.stdout, re.MULTILINE), result
