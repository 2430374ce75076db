"""A network that is given the noise level, from training to files that any program runs: the same function in all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from dae_export import ExportOptions, export
from dae_train import DataSettings, NoiseSettings, RunConfig, TrainingSettings, preset_settings, train


def test_run_is_exported_in_float_and_int8(tmp_path: Path) -> None:
    import keras

    small = {"filters": (16, 16), "encoder_blocks": (1, 1), "decoder_blocks": (1,)}
    config = RunConfig(
        preset_settings("edge-m", sigma=True, **small),
        NoiseSettings("gaussian:0-0.2", clip=False),
        DataSettings(limit=16, patch_px=32),
        TrainingSettings(steps=6, batch_size=4, qat=True, loss="mse-by-level"),
    )
    run = train(config, tmp_path / "run").run
    network = keras.models.load_model(run.best_model, compile=False)
    noisy = np.random.default_rng(0).random((3, 40, 52, 1), np.float32)
    sigma = np.float32([[0], [0.08], [0.2]])
    expected = np.asarray(network([noisy, sigma]))
    for options, tolerance in ((ExportOptions(), 1e-5), (ExportOptions(quantize=True), 0.05)):
        result = export(run.root, options=options)
        assert (result.contract.preset, result.contract.noise) == ("edge-m", "gaussian:0-0.2")
        assert result.contract.sigma is not None
        assert (result.contract.sigma.low, result.contract.sigma.high) == (0, 0.2)
        session = onnxruntime.InferenceSession(result.path, providers=["CPUExecutionProvider"])
        received = session.run(None, {"noisy": noisy, "sigma": sigma})[0]
        np.testing.assert_allclose(received, expected, atol=tolerance)
        np.testing.assert_array_equal(received[0], noisy[0])
    assert result.contract.is_exact
