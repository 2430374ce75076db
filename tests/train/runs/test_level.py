"""Runs of networks that are given the noise level."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from dae_runtime.contract import RunDirectory
from dae_runtime.images import Image, write_image
from dae_train import ConfigError, DataSettings, NoiseSettings, RunConfig, TrainingSettings, preset_settings, resume, train
from dae_train.judging.history import read_history
from dae_train.networks import build_network

pytestmark = pytest.mark.slow

SMALL = {"filters": (8, 12), "encoder_blocks": (1, 1), "decoder_blocks": (1,)}
LEVELED = preset_settings("edge-m", sigma=True, **SMALL)
BLIND = preset_settings("edge-m", **SMALL)
ON_JAX = """
import sys
from dae_train import DataSettings, NoiseSettings, RunConfig, TrainingSettings, preset_settings, resume, train
from dae_train.fitting import session
from dae_train.fitting.input_pipeline import DeviceFeed
model = preset_settings("edge-m", sigma=True, filters=(8, 12), encoder_blocks=(1, 1), decoder_blocks=(1,))
short = dict(epochs=1, steps_per_epoch=3, batch_size=8, schedule="constant", loss="mse-by-level")
data = DataSettings("synthetic", patch_px=16, limit=20)
train(RunConfig(model, NoiseSettings("gaussian:0-0.2"), data, TrainingSettings(**short)), sys.argv[1], device="cpu")
assert resume(sys.argv[1], epochs=2, device="cpu").epochs == 2
session.choose_feed = DeviceFeed
rest = TrainingSettings(**short, init=sys.argv[1], teacher=sys.argv[1], qat=True)
train(RunConfig(model, NoiseSettings("poisson:20-200"), data, rest), sys.argv[1] + "-qat", device="cpu")
"""


def config(model: Any = LEVELED, noise: str = "gaussian:0-0.2", **training: Any) -> RunConfig:
    quick = {"epochs": 2, "steps_per_epoch": 4, "batch_size": 8, "loss": "mse-by-level" if model.sigma else "mse", **training}
    data = DataSettings("synthetic", patch_px=16, limit=20)
    return RunConfig(model, NoiseSettings(noise), data, TrainingSettings(**quick))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return train(config(schedule="constant", ema=0.9, deterministic=False), tmp_path_factory.mktemp("runs") / "leveled").run


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return train(config(BLIND, epochs=1), tmp_path_factory.mktemp("runs") / "blind").run


def loaded(run: RunDirectory) -> Any:
    return keras.models.load_model(run.best_model, compile=False)


def test_samples_of_the_export_have_levels(trained: RunDirectory) -> None:
    with np.load(trained.calibration) as arrays:
        for part in ("", "test_"):
            level = arrays[f"{part}sigma"]
            assert level.shape == (len(arrays[f"{part}noisy"]), 1)
            assert level.dtype == np.float32
            assert 0 <= level.min() < 0.05 < 0.15 < level.max() <= 0.2
            rms = np.sqrt(np.mean(np.square(arrays[f"{part}noisy"] - arrays[f"{part}clean"]), axis=(1, 2, 3)))
            assert np.corrcoef(rms, level[:, 0])[0, 1] > 0.9
        noisy = arrays["noisy"][:2]
        result = np.asarray(loaded(trained)([noisy, np.float32([[0], [0.2]])]))
    np.testing.assert_array_equal(result[0], noisy[0])
    assert trained.samples.is_file()


def test_validation_loss_is_that_of_training(trained: RunDirectory) -> None:
    """Both weigh images by their level: about 1 for a network that is as good as usual, ten for one that did nothing."""
    for row in read_history(trained.history):
        assert 1 < row["loss"] < 100
        assert 0.3 < row["val_loss"] / row["loss"] < 3
        assert row["val_psnr"] > 10


def test_run_goes_on(trained: RunDirectory, tmp_path: Path) -> None:
    whole = train(config(schedule="constant", epochs=3, ema=0.9, deterministic=True), tmp_path / "whole").run
    halves = train(config(schedule="constant", epochs=2, ema=0.9, deterministic=True), tmp_path / "halves").run
    assert resume(halves.root, epochs=3).epochs == 3
    for a, b in zip(loaded(whole).get_weights(), loaded(halves).get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "amp"},
        {"qat": True},
        {"loss": "charbonnier", "noise": "poisson:20-200+jpeg:60-90"},
    ],
    ids=["amp", "qat", "measured"],
)
def test_it_learns_in_every_way(trained: RunDirectory, blind: RunDirectory, tmp_path: Path, changes: dict[str, Any]) -> None:
    for teacher in (blind, trained):
        settings = config(**changes, init=str(trained.root), teacher=str(teacher.root), epochs=1)
        run = train(settings, tmp_path / teacher.root.name).run
        before, after = loaded(trained).get_weights(), loaded(run).get_weights()
        assert all(np.isfinite(weight).all() for weight in after)
        assert any(np.abs(a - b).max() > 1e-5 for a, b in zip(before, after, strict=True))


def test_it_starts_from_a_network_without_level(blind: RunDirectory, tmp_path: Path) -> None:
    from_blind = train(config(init=str(blind.root), epochs=1, learning_rate=1e-9), tmp_path / "from-blind").run
    noisy = np.random.default_rng(0).random((2, 16, 16, 1), np.float32)
    expected = np.asarray(loaded(blind)(noisy))
    np.testing.assert_allclose(loaded(from_blind)([noisy, np.full((2, 1), 1 / 12, np.float32)]), expected, atol=1e-4)


def test_teacher_that_needs_the_level_needs_a_pupil_that_is_given_it(trained: RunDirectory, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"given the noise level, and the one to be trained is not.*--sigma-input"):
        train(config(BLIND, teacher=str(trained.root)), tmp_path / "run")


def test_pairs_and_noise_of_a_program(tmp_path: Path) -> None:
    """Levels of noise that is in the files already, or that a function adds, are measured."""
    rng = np.random.default_rng(0)
    for number in range(12):
        clean = np.full((24, 24), rng.integers(60, 190), np.uint8)
        for folder, image in (("clean", clean), ("noisy", clean + 2 * number * rng.choice([-1, 1], clean.shape))):
            (tmp_path / folder).mkdir(exist_ok=True)
            write_image(tmp_path / folder / f"{number}.png", Image(image.astype(np.uint8)))
    data = DataSettings(str(tmp_path / "noisy"), str(tmp_path / "clean"), patch_px=16, validation_fraction=0.5)
    paired = dataclasses.replace(config(), noise=NoiseSettings(), data=data)
    run = train(paired, tmp_path / "paired").run
    with np.load(run.calibration) as arrays:
        steps = 255 * arrays["sigma"] / 2
        np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)
        assert arrays["sigma"].max() > 0.03
    own = dataclasses.replace(config(), noise=NoiseSettings())
    run = train(own, tmp_path / "own", noise=lambda images, seed: images + (seed % 7) / 50).run
    with np.load(run.calibration) as arrays:
        expected = np.sqrt(np.square(arrays["noisy"] - arrays["clean"]).mean(axis=(1, 2, 3)))
        np.testing.assert_allclose(arrays["sigma"][:, 0], expected, atol=1e-5)
    once = dataclasses.replace(config(epochs=1), noise=NoiseSettings("gaussian:0-0.2", once=True))
    assert np.isfinite(read_history(train(once, tmp_path / "once").run.history)[0]["loss"])


def test_jax_trains_them_too(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ON_JAX, str(tmp_path / "run")],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    network = keras.models.load_model(RunDirectory(tmp_path / "run-qat").best_model, compile=False)
    assert [weight.shape for weight in network.weights] == [
        weight.shape for weight in build_network(dataclasses.replace(LEVELED, channels=1)).weights
    ]
