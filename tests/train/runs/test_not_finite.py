"""A training whose loss leaves the numbers: it ends in one error, the last good weights stay, and the run continues."""

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from builders import short_run, untimed_history
from dae_runtime.contract import RunDirectory
from dae_train import TrainError, preset_settings, resume, train

pytestmark = pytest.mark.slow

FloatArray = np.ndarray[Any, np.dtype[np.float32]]


def test_the_last_good_weights_stay_and_the_run_continues(digits_file: Path, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    broken = True

    def noise(images: FloatArray, seed: int) -> FloatArray:
        grain = np.random.default_rng(seed).normal(0, 0.1, images.shape).astype(np.float32)
        too_much = np.float32(1e30 if broken and run.last_model.exists() else 1)  # whose square is more than float32 holds
        return images + grain * too_much

    small = preset_settings("edge-s", filters=(8, 12), encoder_blocks=(1, 1), decoder_blocks=(1,))
    wanted = short_run(digits_file, None, epochs=3, steps_per_epoch=20, batch_size=16, schedule="constant", loss="mse")
    wanted = dataclasses.replace(wanted, model=small, noise=dataclasses.replace(wanted.noise, clip=False))
    with pytest.raises(TrainError, match=r"the loss became (nan|inf) in epoch 2\. Use a lower learning rate") as caught:
        train(wanted, run.root, noise=noise)
    assert "\n" not in str(caught.value)
    assert [row["epoch"] for row in untimed_history(run)] == [1]
    for saved in (run.best_model, run.last_model):
        weights = keras.models.load_model(saved, compile=False).get_weights()
        assert all(np.isfinite(array).all() for array in weights)
    broken = False
    assert resume(run.root, noise=noise).epochs == 3
    assert [row["epoch"] for row in untimed_history(run)] == [1, 2, 3]
