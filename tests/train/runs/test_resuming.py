"""Runs that are resumed with changes, replaced or interrupted."""

import logging
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dae_runtime.contract import RunDirectory, read_description
from dae_train import ConfigError, DataSettings, NoiseSettings, RunConfig, RunError, TrainingSettings, preset_settings
from dae_train.errors import TrainError
from dae_train.fitting.callbacks import Validation
from dae_train.fitting.preparation import prepare
from dae_train.runs import resume, train

pytestmark = pytest.mark.slow
SLOW = """
import sys, time
import dae_train.runs.run
def prepare(config, fresh=True):
    print("preparing", flush=True)
    time.sleep(60)
dae_train.runs.run.prepare = prepare
sys.argv[0] = "dae-train"
from dae_train.cli import main
main()
"""


def config(source: Path, **training: Any) -> RunConfig:
    model = preset_settings("edge-s", filters=(16,), encoder_blocks=(0,))
    quick = {"batch_size": 32, "epochs": 2, "steps_per_epoch": 2, "schedule": "constant", **training}
    return RunConfig(model, NoiseSettings("gaussian:0.3"), DataSettings(str(source)), TrainingSettings(**quick))


@pytest.fixture(scope="module")
def trained(digits_file: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A short run at a constant rate."""
    return train(config(digits_file), tmp_path_factory.mktemp("runs") / "first", command="dae-train words").run


@pytest.fixture
def run(trained: RunDirectory, tmp_path: Path) -> RunDirectory:
    """A copy of it that may be changed."""
    shutil.copytree(trained.root, tmp_path / "run")
    return RunDirectory(tmp_path / "run")


def test_another_number_of_epochs_is_recorded(run: RunDirectory) -> None:
    before = read_description(run)
    assert resume(run.root, epochs=3).epochs == 3
    after = read_description(run)
    assert after["training"].pop("epochs") == 3
    assert before["training"].pop("epochs") == 2
    assert (before.pop("command"), after.pop("command")) == ("dae-train words", "dae-train words --epochs 3")
    assert after == before
    assert resume(run.root).epochs == 3  # no flag is needed any more


def test_epochs_below_those_done_are_rejected(run: RunDirectory) -> None:
    before = run.description.read_bytes()
    with pytest.raises(ConfigError, match=r"--epochs 1: the run has already completed 2.*Give 2 or more"):
        resume(run.root, epochs=1)
    assert run.description.read_bytes() == before


def test_steps_of_a_run_are_not_fewer_than_an_epoch_has(digits_file: Path, tmp_path: Path) -> None:
    prepared = prepare(config(digits_file, steps=5, steps_per_epoch=2)).config.training
    assert (prepared.epochs, prepared.steps_per_epoch) == (3, 2)
    prepared = prepare(config(digits_file, steps=5, steps_per_epoch=2000)).config.training
    assert (prepared.epochs, prepared.steps_per_epoch) == (1, 5)


@pytest.mark.parametrize("place", [0.02, 0.5, 0.9])
def test_damaged_models_are_a_one_line_error(run: RunDirectory, place: float) -> None:
    for path, said in ((run.last_model, "cannot be resumed from"), (run.best_model, "cannot be loaded")):
        whole = path.read_bytes()
        start = int(place * len(whole))
        path.write_bytes(whole[:start] + bytes(300) + whole[start + 300 :])
        with pytest.raises(RunError, match=rf"{path.name} {said} .* again with --overwrite"):
            resume(run.root)
        path.write_bytes(whole)


def test_missing_best_model_is_an_error_before_anything_is_read(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    run.best_model.unlink()
    monkeypatch.setattr("dae_train.runs.run.prepare", None)
    with pytest.raises(RunError, match=r"model\.keras, the best model so far, is missing\. Restore it"):
        resume(run.root)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "interrupted before anything was written; the run in {} is untouched"),
        (("--resume",), "interrupted; continue with: dae-train --resume -o {}"),
    ],
)
def test_interrupted_while_images_are_read(run: RunDirectory, words: tuple[str, ...], said: str) -> None:
    before = run.description.read_bytes()
    line = [sys.executable, "-c", SLOW, *(words or ("synthetic", "--overwrite")), "-o", str(run.root)]
    assert interrupted(line) == said.format(run.root)
    assert run.description.read_bytes() == before
    assert run.last_model.is_file()


def test_interrupted_before_there_is_a_run(tmp_path: Path) -> None:
    line = [sys.executable, "-c", SLOW, "synthetic", "-o", str(tmp_path / "new")]
    assert interrupted(line) == "interrupted before anything was written"
    assert not (tmp_path / "new").exists()


def interrupted(line: list[str]) -> str:
    """Interrupt a command while it reads images and return the last line it said."""
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "preparing\n"
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    return said.splitlines()[-1]


def test_smaller_batches_than_requested_are_logged(digits_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "dae_train"):
        prepare(config(digits_file, batch_size=304))
        assert not caplog.messages
        prepare(config(digits_file, batch_size=400))
    assert caplog.messages == ["batch size 304 instead of 400: there are fewer training images"]


@pytest.mark.parametrize(
    ("loss", "judged", "said"),
    [(float("nan"), 0.5, "the loss became nan"), (0.5, float("inf"), "the loss of the validation images became inf")],
)
def test_error_names_the_loss_that_is_not_finite(loss: float, judged: float, said: str) -> None:
    class Evaluator:
        def evaluate(self, *_: object, **__: object) -> dict[str, float]:
            return {"loss": judged}

    judge = Validation(Evaluator(), lambda: None, np.zeros(1), np.zeros(1), 1)
    with pytest.raises(TrainError, match=f"{said} in epoch 3.*--lr"):
        judge.on_epoch_end(2, {"loss": loss})
