"""The state of a run, kept between processes and devices."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from dae_train import preset_settings
from dae_train.fitting.checkpoints import load_last, save_with_optimizer
from dae_train.learning.optimizers import OPTIMIZERS
from dae_train.networks import build_network


def started(scaled: bool, steps: int) -> tuple[keras.Model, Any]:
    """A small network, and its optimizer after some steps; `scaled` as 16-bit arithmetic of a GPU needs it."""
    keras.utils.set_random_seed(steps)
    network = build_network(preset_settings("edge-m", filters=(8, 8), encoder_blocks=(1, 1), decoder_blocks=(1,), channels=1))
    optimizer: Any = OPTIMIZERS["muon"](1e-3, True)
    if scaled:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(network.trainable_variables)
    random = np.random.default_rng(steps)
    for _ in range(steps):
        optimizer.apply([random.normal(0, 1, weight.shape).astype(np.float32) for weight in network.trainable_variables])
    return network, optimizer


@pytest.mark.parametrize("saved_scaled", [True, False], ids=["from a GPU", "from a CPU"])
@pytest.mark.parametrize("scaled", [True, False], ids=["to a GPU", "to a CPU"])
def test_a_run_goes_on_with_the_16_bit_arithmetic_of_another_device(saved_scaled: bool, scaled: bool, tmp_path: Path) -> None:
    saved, state = started(saved_scaled, 3)
    save_with_optimizer(saved, state, tmp_path / "last.keras")
    network, optimizer = started(scaled, 1)
    assert load_last(tmp_path / "last.keras", network, optimizer) == 3
    inner, theirs = (getattr(each, "inner_optimizer", each) for each in (optimizer, state))
    assert len(inner.variables) > 20
    for ours, expected in zip(inner.variables, theirs.variables, strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(expected), err_msg=ours.path)
    for ours, expected in zip(network.get_weights(), saved.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, expected)
