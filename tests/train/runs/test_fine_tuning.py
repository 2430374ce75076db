"""Runs that start from trained weights, weight averages, and teachers."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from builders import small_autoencoder
from dae_runtime.contract import RunDirectory, read_description
from dae_train import ConfigError, DataSettings, NoiseSettings, RunConfig, TrainingSettings, preset_settings, resume, train
from dae_train.fitting.trainer import Trainer
from dae_train.judging.history import read_history
from dae_train.learning.losses import LOSS_FUNCTIONS
from dae_train.learning.optimizers import AveragingAdam
from dae_train.settings import trained_file as trained_model
from dae_train.settings.config import from_mapping
from dae_train.settings.flags import command_line, merge
from dae_train.settings.trained_file import find_init, model_table

pytestmark = pytest.mark.slow
SMALL = small_autoencoder()


def config(source: Path, **training: Any) -> RunConfig:
    quick = {"batch_size": 32, "epochs": 2, "steps_per_epoch": 5, **training}
    return RunConfig(SMALL, NoiseSettings("gaussian:0.3"), DataSettings(str(source)), TrainingSettings(**quick))


def weights(path: Path) -> list[np.ndarray]:
    found: list[np.ndarray] = keras.models.load_model(path, compile=False).get_weights()
    return found


def differ(a: list[np.ndarray], b: list[np.ndarray]) -> float:
    return max(float(np.abs(x - y).max()) for x, y in zip(a, b, strict=True))


@pytest.fixture(scope="module")
def trained(digits_file: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run of a small network."""
    return train(config(digits_file, epochs=4, steps_per_epoch=20), tmp_path_factory.mktemp("runs") / "first").run


def test_run_starts_from_trained_weights(trained: RunDirectory, digits_file: Path, tmp_path: Path) -> None:
    settings = config(digits_file, init=str(trained.root), learning_rate=1e-9, epochs=1)
    run = train(settings, tmp_path / "run").run
    assert differ(weights(run.best_model), weights(trained.best_model)) < 1e-6  # the mean of the images has not been set
    description = read_description(run)["training"]
    assert description["init"] == str(trained.root)
    assert len(description["init_sha256"]) == 64
    again = train(from_mapping(read_description(run)), tmp_path / "again").run
    assert read_history(again.history)[0]["val_loss"] == pytest.approx(read_history(run.history)[0]["val_loss"], rel=1e-5)


def test_resumed_run_does_not_need_what_it_started_from(trained: RunDirectory, digits_file: Path, tmp_path: Path) -> None:
    first = shutil.copy(trained.best_model, tmp_path / "first.keras")
    settings = config(digits_file, init=str(first), epochs=1, schedule="constant")
    run = train(settings, tmp_path / "run").run
    assert read_description(run)["training"]["learning_rate"] == settings.training.rate
    assert settings.training.rate < TrainingSettings().rate
    first.unlink()
    assert resume(run.root, epochs=2).epochs == 2
    run.last_model.unlink()
    with pytest.raises(ConfigError, match=r"no trained network at .*first\.keras"):
        resume(run.root)
    shutil.copy(trained.last_model, first)
    with pytest.raises(ConfigError, match="differs from the file of the run"):
        resume(run.root)


def test_preset_is_that_of_the_trained_network(trained: RunDirectory, tmp_path: Path) -> None:
    for name in (trained.root, trained.best_model, trained.last_model):
        assert merge(None, {"init": str(name)}).model == dataclasses.replace(SMALL, channels=1)
    alone = shutil.copy(trained.best_model, tmp_path / "alone.keras")
    assert merge(None, {"init": str(alone)}).model == preset_settings("v2", channels=1)
    assert merge(None, {"init": str(alone), "channels": 3}).model.channels == 3  # refused later, when the images are known
    given = {"init": str(alone), "preset": "v1"}
    line = command_line(merge(None, given), given)
    assert line == f"dae-train synthetic --preset v1 --init {alone}"
    changed = {"init": str(trained.root)}  # no flags can say its layers, but those of the run are taken without --preset
    assert command_line(merge(None, changed), changed) == f"dae-train synthetic --init {trained.root}"
    assert find_init(str(trained.root)) == trained.best_model
    assert "channels" not in model_table(str(trained.root))


def test_bundled_networks_go_by_their_names(trained: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(trained.best_model, tmp_path / "small.keras")
    monkeypatch.setattr(trained_model, "BUNDLED", tmp_path)
    assert find_init("small") == tmp_path / "small.keras"
    assert merge(None, {"init": "small"}).model == preset_settings("v2", channels=1)
    with pytest.raises(ConfigError, match=r"no trained network at 'smal': .* or one of small"):
        find_init("smal")


def test_network_that_does_not_fit_is_refused(trained: RunDirectory, digits_file: Path, tmp_path: Path) -> None:
    other = dataclasses.replace(config(digits_file, init=str(trained.root)), model=preset_settings("v2"))
    with pytest.raises(ConfigError, match="8 arrays instead of 12"):
        train(other, tmp_path / "run")
    wide = dataclasses.replace(other, model=dataclasses.replace(SMALL, encoder_filters=(4, 9)))
    with pytest.raises(ConfigError, match=r"array 2 has the shape \(3, 3, 4, 8\) instead of \(3, 3, 4, 9\)"):
        train(wide, tmp_path / "run")
    np.save(tmp_path / "color.npy", np.zeros((6, 28, 28, 3), np.uint8))
    with pytest.raises(ConfigError, match=r"is for gray images .*, this run is for color images .*--channels 1"):
        train(config(tmp_path / "color.npy", init=str(trained.root)), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    alone = shutil.copy(trained.best_model, tmp_path / "alone.keras")
    with pytest.raises(
        ConfigError, match=r"instead of .*Outside its run directory, without run\.toml, a file names its preset only"
    ):
        train(dataclasses.replace(other, training=TrainingSettings(init=str(alone))), tmp_path / "run")
    (tmp_path / "text.keras").write_text("no archive")
    for name in ("text.keras", "missing"):
        with pytest.raises(ConfigError, match="no trained network at"):
            merge(None, {"init": str(tmp_path / name)})


@pytest.mark.parametrize("flag", ["init", "teacher"])
def test_damaged_network_is_a_one_line_error(trained: RunDirectory, digits_file: Path, tmp_path: Path, flag: str) -> None:
    whole = trained.best_model.read_bytes()
    for start in (whole.index(b'"class_name"'), len(whole) // 2):  # in the description, among the weights
        (tmp_path / "damaged.keras").write_bytes(whole[:start] + bytes(400) + whole[start + 400 :])
        with pytest.raises(ConfigError, match=r"damaged\.keras"):
            train(config(digits_file, **{flag: str(tmp_path / "damaged.keras")}), tmp_path / "run")


@pytest.mark.parametrize("flag", ["init", "teacher"])
def test_network_that_a_run_needs_is_not_overwritten_by_it(
    trained: RunDirectory, digits_file: Path, tmp_path: Path, flag: str
) -> None:
    folder = tmp_path / "old"
    shutil.copytree(trained.root, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    (tmp_path / "link").symlink_to(folder)
    for name in (folder, folder / "last.keras", tmp_path / "link"):
        with pytest.raises(ConfigError, match=rf"--{flag} .* lies in .*old, which the new run would replace"):
            train(config(digits_file, **{flag: str(name)}), folder, overwrite=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_averages_follow_the_weights() -> None:
    variable = keras.Variable(np.full(3, 5.0, np.float32))
    optimizer = AveragingAdam(0.1, decay=0.9)
    optimizer.build([variable])
    expected = np.full(3, 5.0)
    for step in range(120):
        optimizer.apply([keras.ops.ones(3)])
        kept = min(0.9, (1 + step) / (10 + step))
        expected = kept * expected + (1 - kept) * np.asarray(variable)
    assert expected[0] - float(variable[0]) == pytest.approx(0.9, rel=0.05)  # behind by 9 steps of 0.1
    np.testing.assert_allclose(np.asarray(optimizer.averages[0]), expected, rtol=1e-4)


def test_the_average_is_validated_and_saved(trained: RunDirectory) -> None:
    assert differ(weights(trained.best_model), weights(trained.last_model)) > 1e-5
    last = keras.models.load_model(trained.last_model)
    averages = [np.asarray(average) for average in last.optimizer.averages]
    rows = read_history(trained.history)
    assert rows[-1]["val_loss"] == min(row["val_loss"] for row in rows)  # so that the best model is the one of the last epoch
    assert differ(weights(trained.best_model), averages) == 0
    with np.load(trained.calibration) as samples:
        noisy, clean = (np.concatenate([samples[name], samples[f"test_{name}"]]) for name in ("noisy", "clean"))
    found = keras.models.load_model(trained.best_model, compile=False).predict(noisy, verbose=0)
    assert np.mean((found - clean) ** 2) == pytest.approx(rows[-1]["val_loss"], rel=1e-4)


@pytest.mark.parametrize("ema", [0.0, 0.999])
def test_resumed_run_is_bitwise_the_same(digits_file: Path, tmp_path: Path, ema: float) -> None:
    settings = config(digits_file, ema=ema, schedule="constant")
    whole = train(dataclasses.replace(settings), tmp_path / "whole").run
    once = dataclasses.replace(settings, training=dataclasses.replace(settings.training, epochs=1))
    halves = train(once, tmp_path / "halves").run
    resume(halves.root, epochs=2)
    for a, b in ((whole.best_model, halves.best_model), (whole.last_model, halves.last_model)):
        assert differ(weights(a), weights(b)) == 0
    assert read_history(whole.history)[1]["val_loss"] == read_history(halves.history)[1]["val_loss"]


def test_teacher_pulls_the_network_towards_its_own_output(trained: RunDirectory, digits_file: Path, tmp_path: Path) -> None:
    """A teacher that answers with gray alone, believed entirely, makes a network that does so too."""
    gray = keras.models.load_model(trained.best_model, compile=False)
    gray.set_weights([np.zeros_like(weight) for weight in gray.get_weights()])
    gray.save(tmp_path / "gray.keras")
    means = {}
    for share in (0.0, 1.0):
        believed = {"teacher": str(tmp_path / "gray.keras"), "teacher_weight": share}
        settings = config(digits_file, **believed, epochs=1, steps_per_epoch=25, learning_rate=0.05, optimizer="adam")
        run = train(settings, tmp_path / f"run{share}").run
        with np.load(run.calibration) as samples:
            output = keras.models.load_model(run.last_model, compile=False).predict(samples["noisy"], verbose=0)
        means[share] = float(np.mean((output - 0.5) ** 2))
    assert means[1.0] < 0.5 * means[0.0]
    assert differ(weights(tmp_path / "gray.keras"), [np.zeros(1)] * 8) == 0
    assert len(read_description(run)["training"]["teacher_sha256"]) == 64


def test_teacher_sees_images_turned_as_those_of_the_training_are(
    trained: RunDirectory, digits_file: Path, tmp_path: Path
) -> None:
    """A network that is its own teacher agrees with it, unless the teacher sees another side of the image."""
    found = {}
    for augment in (False, True):
        own = {"init": str(trained.root), "teacher": str(trained.root), "teacher_weight": 1.0, "loss": "mse"}
        settings = config(digits_file, **own, epochs=1, learning_rate=1e-9)
        settings = dataclasses.replace(settings, data=dataclasses.replace(settings.data, augment=augment))
        found[augment] = read_history(train(settings, tmp_path / f"run{augment}").run.history)[0]["loss"]
    assert found[False] < 1e-9
    assert found[True] > 1e-5


def test_loss_mixes_clean_image_and_teacher() -> None:
    trainer = Trainer(inputs := keras.Input((1,)), inputs)
    trainer.loss_function, trainer.teacher_weight = LOSS_FUNCTIONS["mse"], 0.25
    clean, output, taught = (keras.ops.full((2, 4, 4, 1), value) for value in (0.0, 0.2, 0.6))
    assert float(trainer.compute_loss(y_pred=[clean, output])) == pytest.approx(0.04)
    assert float(trainer.compute_loss(y_pred=[clean, output, taught])) == pytest.approx(0.75 * 0.04 + 0.25 * 0.16)
    trainer.by_level = True
    levels = keras.ops.convert_to_tensor([[15 / 255], [30 / 255]])
    weights_of_both = [1 / 4.07e-4, 1 / (4.07e-4 * 2**1.13)]
    of_clean = float(trainer.compute_loss(y_pred=[clean, output, levels]))
    assert of_clean == pytest.approx(0.04 * np.mean(weights_of_both), rel=1e-5)
    of_both = float(trainer.compute_loss(y_pred=[clean, output, taught, levels]))
    assert of_both == pytest.approx((0.75 * 0.04 + 0.25 * 0.16) * np.mean(weights_of_both), rel=1e-5)


def test_teacher_for_other_images_is_refused(trained: RunDirectory, tmp_path: Path) -> None:
    keras.Sequential([keras.Input((None, None, 1)), keras.layers.Conv2D(1, 3)]).save(tmp_path / "narrow.keras")
    np.save(tmp_path / "color.npy", np.zeros((6, 28, 28, 3), np.uint8))
    np.save(tmp_path / "gray.npy", np.zeros((6, 28, 28), np.uint8))
    for data, teacher, said in (
        ("color.npy", trained.root, "--teacher .* is for gray images"),
        ("gray.npy", tmp_path / "narrow.keras", "expected a network for patches of 28x28 pixels in 1 channels"),
        ("gray.npy", tmp_path / "missing.keras", "no trained network"),
    ):
        with pytest.raises(ConfigError, match=said):
            train(config(tmp_path / data, teacher=str(teacher)), tmp_path / "run")
    assert not (tmp_path / "run").exists()
