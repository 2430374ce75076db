"""Runs with a custom network and noise: training, resuming, errors."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from builders import short_run, untimed_history
from dae_runtime.contract import read_description
from dae_train import (
    ConfigError,
    NoiseSettings,
    Outcome,
    RunConfig,
    RunError,
    from_toml,
    resume,
    train,
)
from dae_train.settings.networks import CustomSettings

pytestmark = pytest.mark.slow

FloatArray = np.ndarray[Any, np.dtype[np.float32]]


def stripes(images: FloatArray, seed: int) -> FloatArray:
    """Add 0.25 to rows drawn for each image: noise that no text describes."""
    rows = np.random.default_rng(seed).random((*images.shape[:2], 1, 1)) < 0.3
    return np.where(rows, images + 0.25, images)


def network(filters: int = 8, side: int | None = None, channels: int = 1) -> keras.Model:
    image = keras.Input((side, side, channels), name="picture")
    x = layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu")(image)
    correction = layers.Conv2DTranspose(channels, 4, strides=2, padding="same", kernel_initializer="zeros")(x)
    return keras.Model(image, layers.Add()([image, correction]), name="my_network")


def config(source: Path, noise: str | None = None, **training: Any) -> RunConfig:
    return short_run(source, noise, **{"batch_size": 16, "steps_per_epoch": 4, "schedule": "constant"} | training)


@pytest.fixture(scope="module")
def striped(digits_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A run of one epoch with noise of its own."""
    return train(config(digits_file, epochs=1, deterministic=True), tmp_path_factory.mktemp("runs") / "own", noise=stripes)


def test_noise_of_the_program_is_used_in_training_and_validation(striped: Outcome) -> None:
    assert read_description(striped.run)["noise"] == {"spec": "custom", "clip": True, "once": False}
    assert striped.test is not None
    with np.load(striped.run.calibration) as samples:
        added = (samples["noisy"] - samples["clean"])[samples["clean"] < 0.75]
        noisy = samples["noisy"]
    assert set(np.unique(added.round(6))) == {0, 0.25}
    assert added.mean() == pytest.approx(0.25 * 0.3, abs=0.01)
    assert noisy.max() == 1  # clipped, as the settings say


def test_the_function_gets_batches_in_range_and_a_seed_for_each(digits_file: Path, tmp_path: Path) -> None:
    seen: list[tuple[tuple[int, ...], int]] = []

    def watched(images: FloatArray, seed: int) -> FloatArray:
        assert images.dtype == np.float32
        assert 0 <= images.min() <= images.max() <= 1
        assert type(seed) is int
        seen.append((images.shape, seed))
        images += 1  # of no account: it is a copy
        return images - 0.9

    outcome = train(config(digits_file, epochs=1, batch_size=24), tmp_path / "run", noise=watched)
    assert len({seed for shape, seed in seen if shape == (24, 28, 28, 1)}) >= 4 + 3  # the steps, and those cut ahead
    with np.load(outcome.run.calibration) as samples:
        np.testing.assert_allclose(samples["noisy"], np.minimum(samples["clean"] + 0.1, 1), atol=1e-6)


def test_a_resumed_run_sees_the_same_noise(striped: Outcome, digits_file: Path, tmp_path: Path) -> None:
    whole = train(config(digits_file, deterministic=True), tmp_path / "whole", noise=stripes)
    resumed = resume(striped.run.root, epochs=2, noise=stripes)
    assert resumed.epochs == whole.epochs == 2
    assert untimed_history(resumed.run) == untimed_history(whole.run)


def test_noise_sampled_once(digits_file: Path, tmp_path: Path) -> None:
    calls: list[int] = []

    def counted(images: FloatArray, seed: int) -> FloatArray:
        calls.append(len(images))
        return stripes(images, seed)

    settings = dataclasses.replace(config(digits_file), noise=NoiseSettings(once=True))
    train(settings, tmp_path / "run", noise=counted)
    assert len(calls) == 4  # the training images, the validation images twice, the test images


def test_noise_on_single_noisy_images(digits_file: Path, tmp_path: Path) -> None:
    outcome = train(config(digits_file, supervision="noise2void"), tmp_path / "run", noise=stripes)
    assert outcome.test is not None  # judged by the clean images


@pytest.mark.parametrize(
    ("noise", "said"),
    [
        (lambda images, seed: images[:1], r"of the shape of its input, \(\d+, 28, 28, 1\); received float32 \(1, "),
        (lambda images, seed: images.astype(complex), "received complex128"),
        (lambda images, seed: images * np.nan, "returned NaN or infinity"),
        (lambda images, seed: None, r"received object \(\)"),
    ],
)
def test_wrong_noise_is_refused_before_anything_is_written(
    noise: Callable[..., Any], said: str, digits_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=said):
        train(config(digits_file), tmp_path / "run", noise=noise)
    assert not (tmp_path / "run").exists()


def test_an_error_of_the_function_reaches_the_program(digits_file: Path, tmp_path: Path) -> None:
    def broken(images: FloatArray, seed: int) -> FloatArray:
        if len(images) == 16 and seed % 2:
            raise KeyError("the lens table")
        return images

    with pytest.raises(KeyError, match="the lens table"):
        train(config(digits_file, steps_per_epoch=40), tmp_path / "run", noise=broken)


def test_a_network_of_the_program_is_trained_and_not_changed(digits_file: Path, tmp_path: Path) -> None:
    mine = network()
    before = [weight.copy() for weight in mine.get_weights()]
    outcome = train(config(digits_file, "gaussian:0.3", steps_per_epoch=20, ema=0), tmp_path / "run", model=mine)
    assert all(np.array_equal(old, new) for old, new in zip(before, mine.get_weights(), strict=True))
    table = read_description(outcome.run)["model"]
    assert table == {"preset": "custom", "channels": 1, "alignment_px": 2}
    saved = keras.models.load_model(outcome.run.best_model, compile=False)
    assert (saved.name, saved.input_shape) == ("my_network", (None, None, None, 1))
    assert [type(layer) for layer in saved.layers] == [type(layer) for layer in mine.layers]
    assert outcome.test is not None
    assert outcome.test["psnr_db"] > outcome.test["noisy_psnr_db"] + 1
    assert from_toml(outcome.run.description).model == CustomSettings(channels=1, alignment_px=2)


def test_it_starts_with_its_own_weights(digits_file: Path, tmp_path: Path) -> None:
    first = train(config(digits_file, "gaussian:0.3", ema=0), tmp_path / "first", model=network())
    better = keras.models.load_model(first.run.best_model, compile=False)
    slow = config(digits_file, "gaussian:0.3", ema=0, epochs=1, learning_rate=1e-9)
    second = train(slow, tmp_path / "second", model=better)
    assert second.best["val_loss"] == pytest.approx(first.best["val_loss"], rel=1e-4)


@pytest.mark.parametrize("training", [{"precision": "amp"}, {"qat": True}, {"ema": 0.9}])
def test_every_way_to_train_takes_it(training: dict[str, Any], digits_file: Path, tmp_path: Path) -> None:
    outcome = train(config(digits_file, "gaussian:0.3", **training), tmp_path / "run", model=network(side=28))
    saved = keras.models.load_model(outcome.run.best_model, compile=False)
    assert {layer.compute_dtype for layer in saved.layers} == {"float32"}
    assert [type(layer) for layer in saved.layers] == [type(layer) for layer in network(side=28).layers]
    assert read_description(outcome.run)["model"]["image_px"] == 28


def test_a_resumed_run_needs_the_custom_parts(digits_file: Path, tmp_path: Path, dae_train: Callable[..., Any]) -> None:
    folder = tmp_path / "run"
    settings = config(digits_file, epochs=1, deterministic=True)
    train(settings, folder, model=network(), noise=stripes)
    with pytest.raises(ConfigError, match=r"run has model 'custom'.*Pass the keras.Model as model="):
        resume(folder, epochs=2, noise=stripes)
    with pytest.raises(ConfigError, match=r"run has noise 'custom'.*Pass the function as noise="):
        resume(folder, epochs=2, model=network())
    with pytest.raises(ConfigError, match=r"started with another model: expected .*channels=1.*received .*channels=3"):
        resume(folder, epochs=2, model=network(channels=3), noise=stripes)
    with pytest.raises(RunError, match="cannot be resumed from"):
        resume(folder, epochs=2, model=network(filters=4), noise=stripes)
    with pytest.raises(ConfigError, match=r"the configuration has model 'custom'"):
        train(from_toml(folder / "run.toml"), tmp_path / "again")
    done = dae_train("--resume", "-o", folder)
    assert done.returncode == 2
    assert "only the program which defines it can provide" in done.stderr
    resumed = resume(folder, epochs=2, model=network(), noise=stripes)
    assert resumed.epochs == 2
    plain = train(config(digits_file, "gaussian:0.3", epochs=1), tmp_path / "plain")
    for given in ({"model": network()}, {"noise": stripes}):
        with pytest.raises(ConfigError, match=r"started with a .* from its settings"):
            resume(plain.run.root, epochs=2, **given)


def test_noise_cannot_be_given_twice(digits_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"as a function and as the text 'gaussian:0.3'"):
        train(config(digits_file, "gaussian:0.3"), tmp_path / "run", noise=stripes)


@pytest.mark.parametrize("flags", [("--noise", "custom"), ("--preset", "custom")])
def test_the_command_can_provide_neither(flags: tuple[str, str], dae_train: Callable[..., Any], tmp_path: Path) -> None:
    done = dae_train("synthetic", *flags, "-o", tmp_path / "run")
    assert done.returncode == 2
    assert "'custom'" in done.stderr
    assert not (tmp_path / "run").exists()
