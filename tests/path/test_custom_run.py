"""A network and noise of a program's own, from images to a model file that the runtime runs like Keras."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from dae_runtime import Denoiser
from dae_train import DataSettings, RunConfig, TrainingSettings, train


def test_a_run_of_a_program_is_exported_and_run(tmp_path: Path) -> None:
    import keras
    from keras import layers

    image = keras.Input((None, None, 1))
    x = layers.Conv2D(8, 4, strides=2, padding="same", activation="relu")(image)
    correction = layers.Conv2DTranspose(1, 4, strides=2, padding="same")(x)
    network = keras.Model(image, layers.Add()([image, correction]))
    config = RunConfig(data=DataSettings(limit=16), training=TrainingSettings(steps=4, batch_size=4))
    outcome = train(config, tmp_path / "run", model=network, noise=lambda images, seed: images * 0.9 + 0.05)

    line = [sys.executable, "-c", "from dae_export.cli import main; main()", "run", "-o", "own.onnx"]
    line += ["--min-psnr-gain", "-100"]  # four steps of training make nothing better
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stderr

    noisy = np.random.default_rng(0).random((40, 52, 1), np.float32)
    expected = keras.models.load_model(outcome.run.best_model, compile=False).predict(noisy[None], verbose=0)[0]
    with Denoiser(tmp_path / "own.onnx", device="cpu") as denoiser:
        assert (denoiser.model.preset, denoiser.model.noise) == ("custom", "custom")
        np.testing.assert_allclose(denoiser.denoise(noisy), np.clip(expected, 0, 1), atol=1e-5)
