"""The recipe of a camera's noise, estimated from noisy pictures alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dae_runtime.contract import parse_noise
from dae_runtime.images import Image, write_image
from dae_train import DataError, NoiseSettings
from dae_train.data import synthetic, textures
from dae_train.noise import CameraFit, draw_noisy, fit_camera, resolve
from dae_train.noise.fit_camera import fit_camera_folder, numbers
from dae_train.settings.noise import FitRequest

LOW, HIGH = (1200, 0.3, 0.9), (9600, 1.1, 0.35)
"""Sensitivity, blur and color of two cameras."""


def write_shots(folder: Path, spec: str, channels: int = 3, count: int = 12) -> Path:
    """Write soft pictures with noise, as a camera does: 200 x 200 pixels, with colors as pale as those of photographs."""
    clean = synthetic.make_images(count, 200, channels, seed=3) / np.float32(255)
    pale = clean.mean(axis=3, keepdims=True) * np.float32(0.8) + np.float32(0.2) * clean
    soft = np.stack([textures.blur(image, 4) for image in pale]).astype(np.float32)
    folder.mkdir()
    for number, noisy in enumerate(draw_noisy(soft, NoiseSettings(spec), seed=5)):
        write_image(folder / f"{number}.png", Image(np.rint(noisy * 255).astype(np.uint8)))
    return folder


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make fewer pictures than a user's run."""
    monkeypatch.setattr(fit_camera, "PICTURES", 120)


@pytest.mark.usefixtures("quick")
def test_two_cameras_are_told_apart(tmp_path: Path) -> None:
    found = [
        fit_camera_folder(write_shots(tmp_path / str(amounts[0]), "camera:" + ",".join(map(str, amounts))))
        for amounts in (LOW, HIGH)
    ]
    assert found[0] is not None
    assert found[1] is not None
    low, high = (fit.amounts for fit in found)
    assert low[0] < high[0]
    assert LOW[0] / 6 < low[0] < LOW[0] * 2
    assert HIGH[0] / 2.5 < high[0] < HIGH[0] * 2.5
    assert low[1] < high[1] - 0.2
    assert low[2] > 1.4 * high[2]
    for fit in found:
        assert all(ends[0] <= amount <= ends[1] for amount, ends in zip(fit.amounts, fit.ranges, strict=True))
        assert fit.crops == 12


@pytest.mark.usefixtures("quick")
def test_a_request_is_replaced_by_the_recipe_and_recorded(tmp_path: Path) -> None:
    folder = write_shots(tmp_path / "shots", "camera:6400,0.8", channels=1)
    spec, record = resolve(FitRequest(f"fit:{folder}", str(folder), 1, 1))
    ((step,),) = parse_noise(spec).recipes
    assert step.kind == "camera"
    assert step.amounts[0].low / 2 < 6400 < step.amounts[0].high * 2
    assert step.amounts[1].low - 0.2 < 0.8 < step.amounts[1].high + 0.2
    assert record["spec"] == spec
    assert record["request"] == f"fit:{folder}"
    assert {"iso", "blur", "crops", "log_level", "log_roughness"} <= set(record)
    assert "color" not in record


@pytest.mark.usefixtures("quick")
def test_what_the_recipe_cannot_make_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "blurred"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(6):
        noise = textures.blur(rng.normal(0, 300, (200, 200, 3)).astype(np.float32), 4)
        write_image(folder / f"{number}.png", Image(np.rint(128 + noise).clip(0, 255).astype(np.uint8)))
    with pytest.raises(DataError, match=r"blurred cannot be measured: .* not as the recipe camera makes it"):
        resolve(FitRequest(f"fit:{folder}", str(folder), 1, 1))


def test_small_and_black_images_do_not_count(tmp_path: Path) -> None:
    write_image(tmp_path / "small.png", Image(np.full((100, 300, 3), 128, np.uint8)))
    write_image(tmp_path / "black.png", Image(np.zeros((300, 300, 3), np.uint8)))
    with pytest.raises(DataError, match="no image has 192x192 pixels neither black nor white"):
        fit_camera_folder(tmp_path)


def test_numbers_tell_level_roughness_and_color() -> None:
    rng = np.random.default_rng(1)
    white = 0.5 + rng.normal(0, 0.02, (192, 192, 3)).astype(np.float32)
    gray = 0.5 + np.repeat(rng.normal(0, 0.04, (192, 192, 1)), 3, axis=2).astype(np.float32)
    smooth = np.asarray(textures.blur(gray, 1), np.float32)
    level, rough, color = numbers(white)
    assert numbers(gray)[0] > level
    assert numbers(smooth)[1] < rough - 0.5
    assert numbers(gray)[2] < color - 2
    np.testing.assert_allclose(numbers(gray[..., :1]), numbers(gray)[:2], rtol=1e-3)


def test_factors_are_of_the_deviation_and_stay_in_what_is_allowed() -> None:
    fit = CameraFit((1600, 0.5, 0.4), ((800, 3200), (0.4, 0.6), (0.3, 0.5)), 9, (1.0, -1.0, -1.0))
    assert fit.spec() == "camera:800-3200,0.4-0.6,0.3-0.5"
    assert fit.spec(0.1, 100) == "camera:50-409600,0.4-0.6,0.3-0.5"
    assert fit.record()["iso"] == 1600
