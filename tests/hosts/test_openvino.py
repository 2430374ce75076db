"""OpenVINO computes what the runtime computes."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from dae_export import ExportOptions, export_for
from dae_runtime import Denoiser
from hosts.conftest import SIGMA, agreement_db, needs, picture


@needs("openvino")
@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
@pytest.mark.parametrize("name", ["photo", "gray", "document"])
def test_the_picture_is_that_of_the_runtime(name, dtype, tmp_path, run_script):
    """To the 8 bits of the activations that the INT8 file rounds and this one does not; both are as far from the truth."""
    file = export_for("openvino", name, tmp_path, ExportOptions(dtype=dtype))
    levels = {} if file.contract.sigma is None else {"sigma": np.full((1, 1), SIGMA, np.float32)}
    for height, width in ((1, 1), (61, 83)):
        noisy = picture(height, width, file.contract.channels)
        np.savez(tmp_path / "inputs.npz", noisy=noisy[None].transpose(0, 3, 1, 2), **levels)
        finished = run_script(sys.executable, "run_openvino.py", file.path, tmp_path / "inputs.npz", tmp_path / "output.npy")
        assert finished.returncode == 0, finished.stderr
        received = np.load(tmp_path / "output.npy")[0].transpose(1, 2, 0)
        expected = Denoiser(name, "cpu").denoise(
            noisy if noisy.shape[2] == 3 else noisy[..., 0], sigma=SIGMA if levels else None
        )
        assert agreement_db(received, expected.reshape(noisy.shape)) > 40
