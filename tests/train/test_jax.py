"""The same code trains on JAX."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

from dae_runtime.run_directory import RunDirectory
from dae_train.history import read_history

SCRIPT = """
import sys
from pathlib import Path
from dae_train import DataSettings, NoiseSettings, RunConfig, TrainingSettings, resume, train
spec = "gaussian:0.3-0.5+poisson:20-2000+poisson-gaussian:0.01,0.02+salt-pepper:0.01+speckle:0.1+jpeg:60-90"
config = RunConfig(
    noise=NoiseSettings(spec),
    data=DataSettings(sys.argv[1]),
    training=TrainingSettings(epochs=2, batch_size=16, schedule="constant", learning_rate=1e-3),
)
train(config, Path(sys.argv[2]), device="cpu")
assert resume(Path(sys.argv[2]), epochs=3, device="cpu").epochs == 3
import keras
assert keras.config.backend() == "jax"
assert "onnxruntime" not in sys.modules
"""


def test_short_training_on_jax(digits_file: Path, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(digits_file), str(run.root)],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = read_history(run.history)
    assert [row["step"] for row in rows] == [19, 38, 57]
    assert rows[-1]["val_loss"] < 0.8 * rows[0]["loss"]
    test = tomllib.loads(run.result.read_text())["test"]
    assert test["psnr_db"] > test["noisy_psnr_db"] + 2

    import keras  # on TensorFlow here: what JAX trained is read by the exporter

    assert keras.models.load_model(run.best_model, compile=False).count_params() == 185_217
