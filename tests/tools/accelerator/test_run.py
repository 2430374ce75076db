"""Training as on a GPU, on this CPU: several steps per call, 16-bit arithmetic, images on the device, no TensorFlow."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest

from builders import invoke, run_on_jax
from dae_runtime.contract import RunDirectory
from dae_tools.accelerator.command import command
from dae_tools.accelerator.pack import pack
from dae_train.judging.history import read_history

ROOT = Path(__file__).parents[3]
SETTINGS = """
[model]
preset = "edge-m"
filters = [8, 8]
encoder_blocks = [1, 1]
decoder_blocks = [1]
sigma = true

[noise]
spec = "gaussian:0-55/255"

[training]
loss = "mse-by-level"
steps = 4
steps_per_epoch = 2
batch_size = 4
precision = "amp"

[data]
patch_px = 32
"""
SCRIPT = """
import logging, os, sys
class Missing:  # on the machine
    def find_spec(self, name, path=None, target=None):
        if name in ("tensorflow", "matplotlib", "pyvips", "onnxruntime", "PIL"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
import jax
from dae_train.fitting import models, session
models.on_gpu = session.on_gpu = lambda: True
compiled = []
class Count(logging.Handler):
    def emit(self, record):
        compiled.extend(["several"] if record.getMessage().startswith("Compiling jit(several)") else [])
logging.getLogger("jax._src.interpreters.pxla").addHandler(Count())
jax.config.update("jax_log_compiles", True)
from dae_tools.accelerator.command import command
def train(*words):
    code = command.main(["train", *words], standalone_mode=False)
    assert not code, words
    assert len(compiled) == 1, compiled
    compiled.clear()
crops, config, second, folder = sys.argv[1:]
new = [crops, "--config", config, "--steps-per-call", "3"]
train(*new, "-o", folder + "/whole", "--seconds", "1000")
train(*new, "-o", folder + "/halves", "--seconds", "0.001")
assert "tensorflow" not in os.listdir(folder)
train("-o", folder + "/halves", "--resume", "--seconds", "1000")
train(crops, "--config", second, "--init", folder + "/whole", "-o", folder + "/rounded", "--anneal", "--seconds", "0.001")
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("accelerator")
    pack([ROOT / "examples/clean"], folder / "crops.npy", 3, 48, 0.3)
    (folder / "first.toml").write_text(SETTINGS)
    (folder / "second.toml").write_text(
        SETTINGS.replace('precision = "amp"', "qat = true").replace("gaussian:0-55/255", "camera")
    )
    arguments = [folder / name for name in ("crops.npy", "first.toml", "second.toml")]
    assert "crops/s" in run_on_jax(SCRIPT, *arguments, folder, timeout_s=500)
    return folder


@pytest.mark.slow
def test_a_resumed_run_equals_one_that_was_not_interrupted(trained):
    import keras

    import dae_train.learning.optimizers  # noqa: F401  # known to Keras, which reads them from files

    whole, halves = (RunDirectory(trained / name) for name in ("whole", "halves"))
    assert [row["step"] for row in read_history(whole.history)] == [2, 4]
    assert [row["step"] for row in read_history(halves.history)] == [2, 4]
    for left, right in ((whole.best_model, halves.best_model), (whole.last_model, halves.last_model)):
        first, second = (keras.models.load_model(path) for path in (left, right))
        optimizers = [getattr(model, "optimizer", None) for model in (first, second)]
        assert (optimizers[0] is None) == (left == whole.best_model)
        states = [
            [*model.weights, *getattr(own, "variables", ())] for model, own in zip((first, second), optimizers, strict=True)
        ]
        assert len(states[0]) == len(states[1]) > 10
        assert all(np.array_equal(a, b) for a, b in zip(*states, strict=True))


@pytest.mark.slow
def test_the_run_is_finished_and_read_by_the_other_commands(trained):
    import keras

    from dae_train import resume
    from dae_train.settings.trained_file import model_table

    run = RunDirectory(trained / "rounded")
    (row,) = read_history(run.history)
    assert row["step"] == 2
    assert tomllib.loads(run.description.read_text())["training"]["epochs"] == 1
    assert resume(run.root, device="cpu").epochs == 1  # judges and draws only
    assert run.result.is_file()
    with np.load(run.calibration) as samples:
        assert {"noisy", "clean", "sigma"} <= set(samples)
    table = model_table(str(run.root))
    assert (table["preset"], table["sigma"], table["filters"]) == ("edge-m", True, [8, 8])
    before, after = (keras.models.load_model(RunDirectory(trained / name).best_model) for name in ("whole", "rounded"))
    assert [weight.path for weight in before.weights] == [weight.path for weight in after.weights]
    moved = max(np.abs(a - b).max() for a, b in zip(before.get_weights(), after.get_weights(), strict=True))
    assert 0 < moved < 0.1


def test_wrong_usage_is_refused(tmp_path):
    (tmp_path / "c.npy").write_bytes(b"")
    for words in ((tmp_path / "c.npy",), ("--resume", "--init", "gray"), (tmp_path / "c.npy", "--resume")):
        result = invoke(command, "train", *words, "-o", tmp_path / "run", "--seconds", 1)
        assert result.exit_code == 2, result.output
