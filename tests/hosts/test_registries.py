"""VapourSynth with vs-mlrt, and onnxruntime for Node.js: each installed from its registry into a folder of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from dae_export import ExportOptions, export_for
from dae_runtime import Denoiser
from hosts.conftest import SIGMA, agreement_db, newer_python, picture

pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def vapoursynth(tmp_path_factory) -> Path:
    """The Python of an environment with VapourSynth and its plugin."""
    base = newer_python()
    if base is None:
        pytest.skip("VapourSynth needs Python 3.12 or newer, which this machine lacks")
    folder = tmp_path_factory.mktemp("vapoursynth")
    subprocess.run([base, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    packages = ["numpy", "vapoursynth>=74", "vapoursynth-mlrt-ort>=16"]
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages], check=True)
    return python


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("name", ["photo", "gray", "digits"])
def test_the_picture_in_vapoursynth_is_that_of_the_runtime(name, dtype, vapoursynth, run_script, tmp_path):
    options = ExportOptions(quantize=True) if dtype == "int8" else ExportOptions(dtype=dtype)
    file = export_for("vapoursynth", name, tmp_path, options)
    channels = file.contract.channels
    noisy = picture(61, 83, channels)
    np.save(tmp_path / "noisy.npy", noisy)
    level = [] if file.contract.sigma is None else [SIGMA]
    arguments = ("ort", file.path, tmp_path / "noisy.npy", tmp_path / "clean.npy", *level)
    finished = run_script(vapoursynth, "run_vapoursynth.py", *arguments)
    assert finished.returncode == 0, finished.stderr
    received = np.clip(np.load(tmp_path / "clean.npy"), 0, 1)
    expected = Denoiser(name, "cpu").denoise(noisy if channels == 3 else noisy[..., 0], sigma=SIGMA if level else None)
    if dtype == "int8":
        assert np.abs(received - expected.reshape(noisy.shape)).max() < 1e-6
    else:
        assert agreement_db(received, expected.reshape(noisy.shape)) > 40


@pytest.fixture(scope="module")
def node_folder(tmp_path_factory) -> Path:
    """A folder with onnxruntime-node; its package holds the library for the CPU."""
    folder = tmp_path_factory.mktemp("node")
    shutil.copy(Path(__file__).with_name("run_node.js"), folder)
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "onnxruntime-node@^1.22"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("quantize", [False, True])
@pytest.mark.parametrize("name", ["photo", "gray-25"])
def test_javascript_replays_the_golden_sample_from_the_sidecar(name, quantize, node_folder, tmp_path):
    file = export_for("plain", name, tmp_path, ExportOptions(quantize=quantize, sidecar=True))
    command = ["node", "run_node.js", file.path, file.sidecar]
    finished = subprocess.run(command, cwd=node_folder, capture_output=True, text=True, timeout=120, check=False)
    assert finished.returncode == 0, finished.stderr
    result = json.loads(finished.stdout)
    assert result["largest"] <= result["allowed"]
    assert result["layout"] == "NCHW"
    assert result["dims"] == [1, file.contract.channels, *file.contract.golden.shape[1:3]]
