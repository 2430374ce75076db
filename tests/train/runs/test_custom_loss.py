"""Runs with a custom loss, and with callbacks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from builders import short_run, untimed_history
from dae_runtime.contract import read_description
from dae_train import ConfigError, RunConfig, from_toml, resume, train

pytestmark = pytest.mark.slow


def squares(clean: Any, denoised: Any) -> Any:
    return ops.mean(ops.square(denoised - clean), axis=-1)


def config(source: Path, **training: Any) -> RunConfig:
    settings = {"batch_size": 16, "steps_per_epoch": 4, "schedule": "constant", "deterministic": True} | training
    return short_run(source, "gaussian:0.3", **settings)


class Watch(keras.callbacks.Callback):  # type: ignore[misc]
    """Notes the figures of each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[dict[str, float]] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.seen.append({"epoch": epoch, **(logs or {})})


@pytest.mark.parametrize(
    "loss",
    [squares, keras.losses.MeanSquaredError(), lambda clean, denoised: ops.mean(ops.square(denoised - clean))],
    ids=["pixels", "object", "mean"],
)
def test_it_trains_and_validates_like_the_same_loss_by_its_name(loss: Any, digits_file: Path, tmp_path: Path) -> None:
    own = train(config(digits_file), tmp_path / "own", loss=loss)
    named = train(config(digits_file, loss="mse"), tmp_path / "named")
    for column in ("loss", "val_loss", "val_psnr"):
        assert own.best[column] == pytest.approx(named.best[column], rel=1e-4)
    assert read_description(own.run)["training"]["loss"] == "custom"


def test_callbacks_see_every_epoch_and_names_are_recorded(digits_file: Path, tmp_path: Path) -> None:
    watch = Watch()
    outcome = train(config(digits_file, epochs=2), tmp_path / "run", loss=squares, callbacks=[watch])
    assert [row["epoch"] for row in watch.seen] == [0, 1]
    assert {"loss", "val_loss", "val_psnr", "val_ssim"} <= set(watch.seen[0])
    assert watch.seen[-1]["val_loss"] == pytest.approx(outcome.best["val_loss"]) or outcome.best["epoch"] == 1
    record = read_description(outcome.run)["record"]["custom"]
    assert record == {"loss": f"{__name__}.squares", "callbacks": ["Watch"]}


def test_a_resumed_run_needs_the_loss_and_takes_other_callbacks(
    digits_file: Path, tmp_path: Path, dae_train: Callable[..., Any]
) -> None:
    whole = train(config(digits_file, epochs=2), tmp_path / "whole", loss=squares)
    folder = train(config(digits_file, epochs=1), tmp_path / "run", loss=squares).run.root
    with pytest.raises(ConfigError, match=r"run has loss 'custom'.*Pass the function as loss="):
        resume(folder, epochs=2)
    with pytest.raises(ConfigError, match=r"the configuration has loss 'custom'"):
        train(from_toml(folder / "run.toml"), tmp_path / "again")
    done = dae_train("--resume", "-o", folder)
    assert done.returncode == 2
    assert "only the program which defines it can provide" in done.stderr
    watch = Watch()
    resumed = resume(folder, epochs=2, loss=squares, callbacks=[watch])
    assert untimed_history(resumed.run) == untimed_history(whole.run)
    assert [row["epoch"] for row in watch.seen] == [1]
    named = train(config(digits_file, epochs=1), tmp_path / "named").run.root
    with pytest.raises(ConfigError, match=r"started with a loss from its settings"):
        resume(named, epochs=2, loss=squares)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"loss": lambda clean, denoised: ops.mean(clean) * np.nan}, "custom loss must return numbers.*nan"),
        ({"loss": lambda clean, denoised: "low"}, "custom loss must return numbers.*'low'"),
        ({"loss": "mse"}, "loss must be a function, not str"),
        ({"noise": "gaussian:0.1"}, "noise must be a function, not str"),
        ({"callbacks": [print]}, "must be keras.callbacks.Callback objects, not builtin_function_or_method"),
    ],
)
def test_what_is_no_loss_or_callback_is_refused_before_anything_is_written(
    given: dict[str, Any], said: str, digits_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=said):
        train(config(digits_file), tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()


def test_a_loss_cannot_be_given_twice_nor_on_the_command_line(
    digits_file: Path, tmp_path: Path, dae_train: Callable[..., Any]
) -> None:
    with pytest.raises(ConfigError, match=r"as a function and as the text 'l1'"):
        train(config(digits_file, loss="l1"), tmp_path / "run", loss=squares)
    done = dae_train("synthetic", "--loss", "custom", "-o", tmp_path / "run")
    assert done.returncode == 2
    assert "'custom'" in done.stderr
    assert not (tmp_path / "run").exists()


def test_an_error_of_a_callback_reaches_the_program(digits_file: Path, tmp_path: Path) -> None:
    def broken(epoch: int, logs: Any) -> None:
        raise KeyError("the tracker is away")

    with pytest.raises(KeyError, match="the tracker is away"):
        train(config(digits_file), tmp_path / "run", callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=broken)])
