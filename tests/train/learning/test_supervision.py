"""Training on noisy images only: two shots of each scene, or one."""

import tomllib
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from builders import small_autoencoder, untimed_history
from dae_runtime.contract import read_description
from dae_runtime.images import Image, write_image
from dae_runtime.pixels.metrics import psnr_db
from dae_train import ConfigError, DataSettings, NoiseSettings, RunConfig, TrainingSettings, resume, train
from dae_train.data.synthetic import make_images
from dae_train.judging.evaluation import denoise
from dae_train.judging.validation import EstimatedPsnr
from dae_train.learning.supervision import (
    CELL_PX,
    REACH_PX,
    BlindSpot,
    Swap,
    loss_function,
    mask_pixels,
    masked_loss,
    shot_variance,
)
from dae_train.settings.config import from_mapping

pytestmark = pytest.mark.slow
SIGMA = 0.12
SMALL = small_autoencoder(encoder_filters=(16, 16), encoder_strides=(1, 1), decoder_filters=(16,), decoder_strides=(1, 1))


def noisy(clean: np.ndarray, seed: int) -> np.ndarray:
    drawn = clean + np.random.default_rng(seed).normal(0, SIGMA, clean.shape)
    return np.rint(np.clip(drawn, 0, 1) * 255).astype(np.uint8)


@pytest.fixture(scope="module")
def clean() -> np.ndarray:
    """Scenes in [0, 1] that touch neither end, (N, 64, 64, 1)."""
    return np.float32(0.3) + np.float32(0.4) * make_images(40, 64, 1, seed=5) / np.float32(255)


@pytest.fixture(scope="module")
def shots(clean: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two folders with a shot of each scene."""
    folders = []
    for seed in (1, 2):
        folders.append(tmp_path_factory.mktemp("shots"))
        for index, image in enumerate(noisy(clean, seed)):
            write_image(folders[-1] / f"{index:02}.png", Image(image))
    return folders


def config(shots: list[Path], supervision: str, **training: Any) -> RunConfig:
    target = str(shots[1]) if supervision == "noise2noise" else None
    quick = {"batch_size": 16, "epochs": 2, "steps_per_epoch": 150, "learning_rate": 3e-3, "ema": 0.99, **training}
    return RunConfig(
        model=SMALL,
        data=DataSettings(str(shots[0]), target, patch_px=32, validation_fraction=0.2),
        training=TrainingSettings(supervision=supervision, **quick),
    )


def gain_db(model: Path, clean: np.ndarray) -> float:
    """Return by how much a network improves shots that it has not seen."""
    unseen = noisy(clean, 3) / np.float32(255)
    return psnr_db(clean, denoise(keras.models.load_model(model, compile=False), unseen, 1)) - psnr_db(clean, unseen)


def test_two_shots_teach_to_denoise(shots: list[Path], clean: np.ndarray, tmp_path: Path) -> None:
    outcome = train(config(shots, "noise2noise"), tmp_path / "run")
    assert gain_db(outcome.run.best_model, clean) > 7
    # the estimate without clean images is what clean images say
    estimated = psnr_db(clean, noisy(clean, 3) / np.float32(255)) + gain_db(outcome.run.best_model, clean)
    assert outcome.best["val_est_psnr"] == pytest.approx(estimated, abs=1)
    assert {"val_psnr", "val_ssim"}.isdisjoint(outcome.best)
    assert tomllib.loads(outcome.run.result.read_text())["validation"].keys() == {"loss", "estimated_psnr_db"}
    assert read_description(outcome.run)["noise"]["spec"] == "none"
    with np.load(outcome.run.calibration) as samples:
        assert set(samples) == {"noisy", "test_noisy"}  # nothing passes for clean


def test_single_shots_teach_to_denoise(shots: list[Path], clean: np.ndarray, tmp_path: Path) -> None:
    outcome = train(config(shots, "noise2void"), tmp_path / "run")
    assert gain_db(outcome.run.best_model, clean) > 6
    # the error at hidden pixels is that of the network and that of the noise
    assert outcome.best["val_loss"] == pytest.approx(SIGMA**2, rel=0.5)
    assert {"val_psnr", "val_est_psnr", "val_ssim"}.isdisjoint(outcome.best)
    assert outcome.best["loss"] == pytest.approx(outcome.best["val_loss"], rel=0.5)


def test_method_can_be_tested_on_clean_images(tmp_path: Path) -> None:
    settings = config([Path("shots")], "noise2void", epochs=1, steps_per_epoch=2)
    settings = from_mapping({**_tables(settings), "noise": {"spec": "gaussian:0.1"}})
    outcome = train(settings, tmp_path / "run")
    assert {"val_psnr", "val_ssim"} <= outcome.best.keys()


def _tables(settings: RunConfig) -> dict[str, dict[str, Any]]:
    from dae_train.settings.config import to_mapping

    tables = to_mapping(settings)  # of a run on noisy images, turned into one on clean ones
    tables["data"] |= {"source": "synthetic", "limit": 6}
    return tables


@pytest.mark.parametrize("supervision", ["noise2noise", "noise2void"])
def test_resumed_run_is_the_same(supervision: str, shots: list[Path], tmp_path: Path) -> None:
    short = {"steps_per_epoch": 2, "batch_size": 4, "schedule": "constant", "deterministic": True, "loss": "l1"}
    whole = train(config(shots, supervision, epochs=2, **short), tmp_path / "whole").run
    train(config(shots, supervision, epochs=1, **short), tmp_path / "parts")
    parts = resume(tmp_path / "parts", epochs=2).run
    first, second = untimed_history(whole), untimed_history(parts)
    assert first == second
    assert len(first) == 2


def test_blind_spot_replaces_one_pixel_of_each_cell_with_a_neighbor() -> None:
    images = np.arange(3 * 24 * 32 * 2, dtype=np.float32).reshape(3, 24, 32, 2) / 5000
    shown, mask = (ops.convert_to_numpy(part) for part in BlindSpot(0)(images))
    cells = mask.reshape(3, 24 // CELL_PX, CELL_PX, 32 // CELL_PX, CELL_PX).sum((2, 4))
    np.testing.assert_array_equal(cells, 1)
    hidden = np.argwhere(mask[..., 0] > 0)
    np.testing.assert_array_equal(shown[mask[..., 0] == 0], images[mask[..., 0] == 0])
    distances = []
    for n, row, column in hidden:
        same = np.argwhere((images[n] == shown[n, row, column]).all(-1))  # no two pixels are alike
        assert len(same) == 1
        distances.append(np.abs(same[0] - (row, column)).max())
    assert max(distances) == REACH_PX
    assert min(distances) >= 1
    assert len({(row % CELL_PX, column % CELL_PX) for _, row, column in hidden}) > 20


def test_losses_use_masked_pixels_only() -> None:
    training = TrainingSettings(supervision="noise2void")
    images = np.random.default_rng(0).random((2, 16, 16, 1), np.float32)
    shown, target = mask_pixels(images, 0)
    again = mask_pixels(images, 0)
    np.testing.assert_array_equal(shown, again[0])
    mask = target[..., -1:]
    output = images + 0.5 * mask + 0.9 * (1 - mask)
    assert float(ops.mean(masked_loss(training)(target, output))) == pytest.approx(0.25, rel=1e-5)
    assert float(ops.mean(loss_function(training)(images, images + 0.5 * mask))) == pytest.approx(0.25, rel=1e-5)


def test_swap_swaps_half_the_pairs() -> None:
    first, second = np.zeros((400, 2, 2, 1), np.float32), np.ones((400, 2, 2, 1), np.float32)
    a, b = (ops.convert_to_numpy(part) for part in Swap(0)(first, second))
    np.testing.assert_array_equal(a + b, 1)
    assert set(np.unique(a.mean((1, 2, 3)))) == {0, 1}
    assert 0.4 < a.mean() < 0.6


def test_estimated_psnr_is_that_against_clean_images() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((8, 64, 64, 1))
    output = truth + rng.normal(0, 0.05, truth.shape)
    first, second = (truth + rng.normal(0, 0.2, truth.shape) for _ in range(2))
    variance = shot_variance(first, second)
    assert variance == pytest.approx(0.04, rel=0.03)
    metric = EstimatedPsnr(variance, "est_psnr")
    metric.update_state(second, output)
    assert float(metric.result()) == pytest.approx(psnr_db(truth, output), abs=1)


@pytest.mark.parametrize(
    ("tables", "part"),
    [
        ({"training": {"supervision": "noise2nothing"}}, "clean, noise2noise or noise2void"),
        ({"training": {"supervision": "noise2void"}}, "those of synthetic are clean"),
        ({"training": {"supervision": "noise2noise"}}, "Give the second with --target"),
        ({"training": {"supervision": "noise2void", "loss": "bce"}}, "mse or l1, since the target is noisy"),
        ({"training": {"supervision": "noise2void"}, "data": {"target": "x"}}, "Omit --target"),
        (
            {"training": {"supervision": "noise2noise"}, "data": {"target": "x"}, "noise": {"spec": "gaussian:0.1"}},
            "Omit --noise gaussian:0.1",
        ),
        ({"training": {"supervision": "noise2void", "teacher": "x"}}, "omitted with noise2void"),
    ],
)
def test_impossible_settings(tables: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        from_mapping(tables)


def test_single_shots_get_no_noise() -> None:
    blind = RunConfig(data=DataSettings("shots"), training=TrainingSettings(supervision="noise2void"))
    assert (blind.has_clean, blind.noise_spec) == (False, "none")
    assert from_mapping(_tables(blind) | {"data": {"source": "shots"}, "noise": {"spec": "none"}}).noise_spec == "none"
    tried = RunConfig(noise=NoiseSettings("gaussian:0.1"), training=TrainingSettings(supervision="noise2void"))
    assert (tried.has_clean, tried.noise_spec) == (True, "gaussian:0.1")
