"""The same code trains on JAX."""

import tomllib
from pathlib import Path

import pytest

from builders import run_on_jax
from dae_runtime.contract import RunDirectory
from dae_train.judging.history import read_history

pytestmark = pytest.mark.slow
SCRIPT = """
import sys
from pathlib import Path
from dae_train import DataSettings, NoiseSettings, RunConfig, TrainingSettings, resume, train
spec = "gaussian:0.3-0.5+poisson:20-2000+poisson-gaussian:0.01,0.02+salt-pepper:0.01+speckle:0.1+jpeg:60-90+camera"
config = RunConfig(
    noise=NoiseSettings(spec),
    data=DataSettings(sys.argv[1]),
    training=TrainingSettings(epochs=2, batch_size=16, optimizer="adam", schedule="constant", learning_rate=1e-3),
)
train(config, Path(sys.argv[2]), device="cpu")
assert resume(Path(sys.argv[2]), epochs=3, device="cpu").epochs == 3
import keras
assert keras.config.backend() == "jax"
image = keras.Input((28, 28, 1))
network = keras.Model(image, keras.layers.Conv2D(1, 3, padding="same")(image))
own = RunConfig(data=config.data, training=TrainingSettings(steps=4, batch_size=16))
train(own, sys.argv[2] + "-own", model=network, noise=lambda images, seed: images * 0.9)
assert "onnxruntime" not in sys.modules
"""

FINE_TUNING = """
import sys
from dataclasses import replace
from pathlib import Path
from dae_train import DataSettings, NoiseSettings, RunConfig, TrainingSettings, preset_settings, resume, train
from dae_train.fitting import session
from dae_train.fitting.input_pipeline import DeviceFeed
from dae_train.networks import build_network
layers = dict(encoder_kernels_px=(3, 3), encoder_strides=(1, 2), decoder_kernels_px=(3, 3), decoder_strides=(2, 1))
model = preset_settings("v2", encoder_filters=(4, 8), decoder_filters=(4,), **layers)
folder = Path(sys.argv[2])
first = str(folder / "first.keras")
build_network(replace(model, channels=1)).save(first)
one = TrainingSettings(epochs=1, steps_per_epoch=5, batch_size=8, schedule="constant", init=first, teacher=first, qat=True)
config = RunConfig(model, NoiseSettings("gaussian:0.3"), DataSettings(sys.argv[1], patch_px=16), one)
session.choose_feed = DeviceFeed
train(config, folder / "halves", device="cpu")
resume(folder / "halves", epochs=2, device="cpu")
train(replace(config, training=replace(one, epochs=2)), folder / "whole", device="cpu")
"""


def test_short_training_on_jax(digits_file: Path, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run_on_jax(SCRIPT, digits_file, run.root)
    rows = read_history(run.history)
    assert [row["step"] for row in rows] == [19, 38, 57]
    assert rows[-1]["val_loss"] < 0.8 * rows[0]["loss"]
    test = tomllib.loads(run.result.read_text())["test"]
    assert test["psnr_db"] > test["noisy_psnr_db"] + 2

    import keras  # on TensorFlow here: what JAX trained is read by the exporter

    assert keras.models.load_model(run.best_model, compile=False).count_params() == 56_545


def test_fine_tuning_on_jax(digits_file: Path, tmp_path: Path) -> None:
    """Trained weights, a teacher, averages, rounding, and images that stay on the device; resumed as if never stopped."""
    import keras

    run_on_jax(FINE_TUNING, digits_file, tmp_path)
    whole, halves = (RunDirectory(tmp_path / name) for name in ("whole", "halves"))
    for a, b in ((whole.best_model, halves.best_model), (whole.last_model, halves.last_model)):
        pairs = zip(*(keras.models.load_model(path, compile=False).get_weights() for path in (a, b)), strict=True)
        assert all((left == right).all() for left, right in pairs)
    rows = read_history(whole.history)
    assert [row["step"] for row in rows] == [5, 10]
    assert rows[1]["val_loss"] == read_history(halves.history)[1]["val_loss"]
