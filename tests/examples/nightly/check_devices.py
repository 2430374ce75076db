"""Other onnxruntime packages, each in an environment of its own: onnxruntime-gpu where there is no GPU, and OpenVINO."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Make a virtual environment with the runtime and one onnxruntime package; return its Python."""
    made: dict[str, Path] = {}

    def make(package: str) -> Path:
        if package not in made:
            folder = tmp_path_factory.mktemp("environment")
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
            made[package] = folder / "bin" / "python"
            install = [made[package], "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*install, str(ROOT), package], check=True)
        return made[package]

    return make


def dae_run(python: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    words = [str(python), "-m", "dae_runtime", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=120, check=False, cwd="/")


@pytest.fixture(scope="module")
def no_gpu() -> None:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return
    pytest.fail("this check is for machines without an NVIDIA driver")


@pytest.mark.usefixtures("no_gpu")
def test_onnxruntime_gpu_without_a_gpu(environment, model_file):
    python = environment("onnxruntime-gpu")
    auto = dae_run(python, "-m", model_file, "--self-test", "--device", "auto")
    assert auto.returncode == 0, auto.stderr
    assert "on cpu: largest error" in auto.stdout
    assert "running on the CPU: no NVIDIA driver found" in auto.stderr
    for device in ("cuda", "cuda:1", "tensorrt"):
        refused = dae_run(python, "-m", model_file, "--self-test", "--device", device)
        assert refused.returncode == 1
        assert f"cannot run on {device.partition(':')[0]}" in refused.stderr
        assert "no NVIDIA driver found" in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
    doctor = dae_run(python, "--doctor")
    assert doctor.returncode == 1
    assert "problem: onnxruntime-gpu cannot use a GPU here: no NVIDIA driver" in doctor.stdout
    assert "cuda needs" in doctor.stdout


def test_openvino_by_name(environment, model_file):
    python = environment("onnxruntime-openvino")
    for device in ("openvino", "openvino:cpu"):
        result = dae_run(python, "-m", model_file, "--self-test", "--device", device)
        assert result.returncode == 0, result.stderr
        assert "on openvino: largest error" in result.stdout
    absent = dae_run(python, "-m", model_file, "--self-test", "--device", "openvino:npu")
    if absent.returncode:  # few machines have one
        assert "could not start openvino:npu" in absent.stderr
    lacking = dae_run(python, "-m", model_file, "--self-test", "--device", "xnnpack")
    assert "it has: cpu, openvino" in lacking.stderr
