"""Short real trainings: files, results, reproducibility."""

import csv
import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from builders import short_run
from dae_runtime.contract import RunDirectory, read_description
from dae_runtime.images import Image, write_image
from dae_train import DataSettings, NoiseSettings, RunConfig, RunError, TrainError, TrainingSettings, preset_settings, train
from dae_train.data.image_set import to_unit
from dae_train.judging.history import COLUMNS, best_epoch, out_of_patience, read_history, write_history
from dae_train.learning.optimizers import learning_rate, warmup_steps
from dae_train.runs import resume
from dae_train.runs.continuation import continue_from
from dae_train.settings.config import from_mapping

pytestmark = pytest.mark.slow
PNG = b"\x89PNG\r\n"


def config(source: Path | str, noise: str | None = "gaussian:0.5", **training: Any) -> RunConfig:
    return short_run(source, noise, **{"batch_size": 32} | training)


@pytest.fixture(scope="module")
def finished(digits_file: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run of three epochs of v1 with its latent plane."""
    output = tmp_path_factory.mktemp("runs") / "v1"
    settings = dataclasses.replace(config(digits_file, epochs=3), model=preset_settings("v1"))
    outcome = train(settings, output, command="dae-train some words")
    assert outcome.epochs == 3
    return outcome.run


def test_run_directory_is_complete(finished: RunDirectory) -> None:
    expected = {
        "model.keras",
        "last.keras",
        "run.toml",
        "result.toml",
        "history.csv",
        "curves.png",
        "samples.png",
        "latent.png",
        "calibration.npz",
        "tensorboard",
    }
    assert {path.name for path in finished.root.iterdir()} == expected
    for picture in (finished.curves, finished.samples, finished.latent):
        assert picture.read_bytes().startswith(PNG)


def test_saved_model_is_an_ordinary_keras_model(finished: RunDirectory) -> None:
    for path in (finished.best_model, finished.last_model):
        model = keras.models.load_model(path, compile=False)
        layers = [*model.get_layer("encoder").layers, *model.get_layer("decoder").layers]
        assert {type(layer).__module__.split(".")[0] for layer in layers} == {"keras"}
        assert not any("noise" in layer.name.replace("denoised", "") for layer in layers)
        assert model.input_shape == model.output_shape == (None, 28, 28, 1)
        assert {weight.dtype for weight in model.weights} == {"float32"}


def test_description_repeats_the_run(finished: RunDirectory, digits_file: Path) -> None:
    document = read_description(finished)
    assert document["command"] == "dae-train some words"
    assert document["versions"]["keras"] == keras.__version__
    assert document["model"]["preset"] == "v1"
    assert document["model"]["channels"] == 1
    assert document["noise"] == {"spec": "gaussian:0.5", "clip": True, "once": False}
    assert len(document["data"]["sha256"]) == 64
    settings = from_mapping(document)
    assert settings.training == TrainingSettings(
        loss="mse", batch_size=32, epochs=3, steps_per_epoch=9, optimizer="muon-plain", learning_rate=TrainingSettings().rate
    )
    assert settings.data.source == str(digits_file)


def test_history_has_a_row_for_each_epoch(finished: RunDirectory) -> None:
    with finished.history.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert [row["step"] for row in rows] == ["9", "18", "27"]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    assert float(rows[-1]["lr"]) == pytest.approx(0.01 * TrainingSettings().rate, rel=1e-3)


def test_result_evaluates_the_best_model_on_all_test_images(finished: RunDirectory, digits_file: Path) -> None:
    result = tomllib.loads(finished.result.read_text())
    test = result["test"]
    assert test["images"] == 40
    assert test["psnr_db"] == pytest.approx(-10 * np.log10(test["mse"]))
    assert test["psnr_db"] > test["noisy_psnr_db"] + 2
    assert result["parameters"] == 200_963
    rows = read_history(finished.history)
    assert result["best_epoch"] == best_epoch(rows)["epoch"]
    assert result["validation"]["psnr_db"] == best_epoch(rows)["val_psnr"]


def test_validation_figures_are_those_of_the_calibration_samples(finished: RunDirectory) -> None:
    # All 16 validation images are in the file, so that the figures of the history can be had from it.
    with np.load(finished.calibration) as samples:
        assert {name: samples[name].dtype for name in samples.files} == dict.fromkeys(
            ("noisy", "clean", "test_noisy", "test_clean"), np.dtype(np.float32)
        )
        noisy = np.concatenate([samples["noisy"], samples["test_noisy"]])
        clean = np.concatenate([samples["clean"], samples["test_clean"]])
    assert noisy.shape == clean.shape == (16, 28, 28, 1)
    assert len({image.tobytes() for image in noisy}) == 16
    denoised = keras.models.load_model(finished.best_model, compile=False).predict(noisy, verbose=0)
    best = best_epoch(read_history(finished.history))
    assert np.mean((denoised - clean) ** 2) == pytest.approx(best["val_loss"], rel=1e-4)


def test_event_files_hold_the_curves(finished: RunDirectory) -> None:
    import tensorflow as tf

    found: dict[str, list[float]] = {}
    for part in ("train", "validation"):
        (path,) = (finished.tensorboard / part).iterdir()
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                assert value.metadata.plugin_data.plugin_name == "scalars"
                found.setdefault(f"{part}/{value.tag}", []).append(float(tf.make_ndarray(value.tensor)))
    rows = read_history(finished.history)
    assert found["train/epoch_loss"] == pytest.approx([row["loss"] for row in rows])
    assert found["validation/epoch_psnr"] == pytest.approx([row["val_psnr"] for row in rows])
    assert "train/epoch_learning_rate" in found


def test_resuming_a_finished_run_trains_nothing(finished: RunDirectory) -> None:
    before = finished.last_model.read_bytes(), finished.history.read_bytes()
    finished.result.unlink()
    outcome = resume(finished.root)
    assert outcome.epochs == 3
    assert outcome.test is not None
    assert finished.result.is_file()
    assert (finished.last_model.read_bytes(), finished.history.read_bytes()) == before


def test_another_number_of_epochs_needs_a_constant_rate(finished: RunDirectory) -> None:
    with pytest.raises(TrainError, match="cosine schedule of this run depends on its number of epochs, 3"):
        resume(finished.root, epochs=5)


def test_a_run_is_not_overwritten_unasked(finished: RunDirectory, digits_file: Path, tmp_path: Path) -> None:
    before = finished.best_model.read_bytes()
    with pytest.raises(RunError, match="--resume, replace it with --overwrite"):
        train(config(digits_file), finished.root)
    assert finished.best_model.read_bytes() == before
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(RunError, match="is not a run directory"):
        train(config(digits_file), tmp_path, overwrite=True)
    assert (tmp_path / "letter.txt").read_text() == "mine"


@pytest.mark.parametrize("seed", [0, 1])
def test_squared_error_does_not_collapse(glyphs: np.ndarray, tmp_path: Path, seed: int) -> None:
    """With zero biases this very run ends in black images and a loss of the mean square; see docs/decisions/0002."""
    np.save(tmp_path / "glyphs.npy", glyphs)
    outcome = train(config(tmp_path / "glyphs.npy", epochs=5, batch_size=32, loss="mse", seed=seed), tmp_path / "run")
    black = float(np.mean(to_unit(glyphs) ** 2))
    assert outcome.best["val_loss"] < 0.5 * black


def test_best_model_is_kept_when_training_gets_worse(digits_file: Path, tmp_path: Path) -> None:
    settings = config(digits_file, epochs=6, learning_rate=0.05, schedule="constant", loss="l1", patience=2)
    outcome = train(settings, tmp_path / "run")
    rows = read_history(outcome.run.history)
    best = best_epoch(rows)
    model = keras.models.load_model(outcome.run.best_model, compile=False)
    with np.load(outcome.run.calibration) as samples:
        noisy = np.concatenate([samples["noisy"], samples["test_noisy"]])
        clean = np.concatenate([samples["clean"], samples["test_clean"]])
    assert np.mean(np.abs(model.predict(noisy, verbose=0) - clean)) == pytest.approx(best["val_loss"], rel=1e-4)
    assert len(rows) == 6 or rows[-1]["epoch"] - best["epoch"] == 2
    longer = resume(outcome.run.root, epochs=len(rows) + 1)  # a constant rate may go on, unless patience has run out
    assert longer.epochs == len(rows) + (0 if out_of_patience(rows, 2) else 1)


def test_noise_sampled_once_trains_on_the_same_noise(digits_file: Path, tmp_path: Path) -> None:
    once = dataclasses.replace(
        config(digits_file, loss="bce", schedule="constant"), noise=NoiseSettings("gaussian:0.5", once=True)
    )
    outcome = train(once, tmp_path / "run")
    assert outcome.epochs == 2
    assert read_description(outcome.run)["noise"]["once"] is True


def test_mixed_precision_saves_float32_and_resumes(digits_file: Path, tmp_path: Path) -> None:
    settings = config(digits_file, epochs=2, precision="amp", schedule="constant")
    run = train(settings, tmp_path / "run").run
    model = keras.models.load_model(run.best_model, compile=False)
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
    assert resume(run.root, epochs=3).epochs == 3
    assert [row["step"] for row in read_history(run.history)] == [9, 18, 27]


def test_pairs_and_color_crops(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(6):
        clean = np.kron(rng.integers(0, 200, (5, 6, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
        for folder, pixels in (("clean", clean), ("noisy", clean + rng.integers(0, 50, clean.shape, np.uint8))):
            (tmp_path / folder).mkdir(exist_ok=True)
            write_image(tmp_path / folder / f"{number}.png", Image(pixels))
    settings = RunConfig(
        data=DataSettings(str(tmp_path / "noisy"), target=str(tmp_path / "clean"), patch_px=32, validation_fraction=0.2),
        training=TrainingSettings(epochs=2, steps_per_epoch=12, batch_size=8),
    )
    run = train(settings, tmp_path / "run").run
    document = read_description(run)
    assert document["noise"]["spec"] == "none"
    assert document["model"]["channels"] == 3
    with np.load(run.calibration) as samples:
        difference = samples["noisy"] - samples["clean"]
    assert difference.min() >= 0  # the noise of the files, and none besides
    assert difference.max() <= 49.5 / 255
    rows = read_history(run.history)
    assert rows[-1]["val_loss"] < rows[0]["loss"]


def test_infinite_loss_stops_with_a_remedy(digits_file: Path, tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((40, 28, 28)).astype(np.float32)
    np.save(tmp_path / "a.npy", images)
    with pytest.raises(TrainError, match="--lr"):
        train(config(tmp_path / "a.npy", "gaussian:1", learning_rate=1e30, schedule="constant"), tmp_path / "run")


def test_damaged_run_cannot_be_continued(finished: RunDirectory, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    with pytest.raises(RunError, match="nothing to resume"):
        resume(tmp_path)
    run.description.write_bytes(finished.description.read_bytes())
    run.history.write_bytes(finished.history.read_bytes())
    run.best_model.write_bytes(finished.best_model.read_bytes())
    run.last_model.write_bytes(finished.last_model.read_bytes()[:5000])
    with pytest.raises(RunError, match=r"last\.keras cannot be resumed from"):
        resume(tmp_path)


def test_history_is_cut_to_the_last_model(tmp_path: Path) -> None:
    """A kill after writing the history and before writing the model leaves a row too many."""
    rows = [dict.fromkeys(COLUMNS, 0.5) | {"epoch": float(n), "step": 7.0 * n} for n in (1, 2, 3)]
    run = RunDirectory(tmp_path)
    write_history(run.history, rows)
    assert read_history(run.history) == rows
    assert continue_from(run, lambda path: 14) == rows[:2]
    with pytest.raises(RunError, match="at step 15"):
        continue_from(run, lambda path: 15)
    run.history.write_text("epoch,loss\n1,zwei\n")
    with pytest.raises(RunError, match="is damaged"):
        read_history(run.history)


@pytest.mark.parametrize("total", [1, 5, 50, 1000, 2500])
def test_rate_rises_then_falls(total: int) -> None:
    training = TrainingSettings(epochs=1, learning_rate=1e-3)
    schedule = learning_rate(training, total)
    rates = np.array([float(schedule(step)) for step in range(total)])
    warmup = warmup_steps(training, total)
    assert warmup == min(200, total // 10)
    assert rates.min() > 0
    assert rates.max() <= 1.0001e-3
    assert rates[warmup] == pytest.approx(1e-3, rel=1e-3)
    assert np.all(np.diff(rates[:warmup]) > 0)
    assert np.all(np.diff(rates[warmup:]) <= 0)
    assert float(schedule(total)) == pytest.approx(1e-5, rel=1e-3)
