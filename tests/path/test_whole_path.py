"""From images to a denoised folder with the three commands, each its own process; and the pixels are those of Keras."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dae_runtime import Denoiser
from dae_runtime.contract import Contract, RunDirectory
from dae_runtime.images import Image, read_image, write_image
from dae_runtime.pixels.metrics import psnr_db

SIZES = [(1, 1), (3, 5), (28, 28), (321, 481), (667, 1000)]
ENVIRONMENT = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}


def command(name: str, *arguments: object, cwd: Path) -> str:
    """Run one of the three commands and return what it printed."""
    package = {"dae-train": "dae_train", "dae-export": "dae_export", "dae-run": "dae_runtime"}[name]
    code = f"from {package}.cli import main; main()"
    line = [sys.executable, "-c", code, *map(str, arguments)]
    result = subprocess.run(line, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a short run and its float32 and INT8 files."""
    folder = tmp_path_factory.mktemp("path")
    flags = "--preset v2 --noise gaussian:0.3 --limit 64 --epochs 2 --steps-per-epoch 60 --batch-size 16 -o run".split()
    command("dae-train", "synthetic", *flags, cwd=folder)
    command("dae-export", "run", "-o", "fp32.onnx", cwd=folder)
    command("dae-export", "run", "--quantize", "-o", "int8.onnx", cwd=folder)
    return folder


def keras_pixels(run: RunDirectory, pixels: np.ndarray) -> np.ndarray:
    """Denoise one gray 8-bit image with the Keras model alone, padded by reflection to the multiple of 4 that v2 needs."""
    import keras

    model = keras.models.load_model(run.best_model, compile=False)
    height, width = pixels.shape
    padded = np.pad(pixels, ((0, -height % 4), (0, -width % 4)), mode="reflect")
    output = np.asarray(model(padded[None, ..., None].astype(np.float32) / 255))[0, :height, :width, 0]
    return np.clip(np.rint(output * 255), 0, 255).astype(np.uint8)


def test_dae_run_gives_the_pixels_of_keras(trained: Path) -> None:
    rng = np.random.default_rng(0)
    noisy = trained / "noisy"
    noisy.mkdir()
    for height, width in SIZES:
        write_image(noisy / f"{width}x{height}.png", Image(rng.integers(0, 256, (height, width), dtype=np.uint8)))
    command("dae-run", "noisy", "clean", "-m", "fp32.onnx", "--device", "cpu", cwd=trained)
    different = total = 0
    for height, width in SIZES:
        name = f"{width}x{height}.png"
        received = read_image(trained / "clean" / name).pixels
        expected = keras_pixels(RunDirectory(trained / "run"), read_image(noisy / name).pixels)
        assert received.shape == (height, width)
        difference = np.abs(received.astype(int) - expected)
        assert difference.max() <= 1
        different += int((difference > 0).sum())
        total += difference.size
    assert different <= total / 1000


def test_a_model_trained_for_seconds_improves_what_it_was_trained_for(trained: Path) -> None:
    samples = np.load(RunDirectory(trained / "run").calibration)
    for name in ("fp32.onnx", "int8.onnx"):
        with Denoiser(trained / name, device="cpu") as denoiser:
            denoised = denoiser.denoise(samples["test_noisy"])
        assert psnr_db(samples["test_clean"], denoised) > psnr_db(samples["test_clean"], samples["test_noisy"]) + 3


def test_the_files_say_what_they_are(trained: Path) -> None:
    contracts: dict[str, Contract] = {}
    for name in ("fp32", "int8"):
        with Denoiser(trained / f"{name}.onnx", device="cpu") as denoiser:
            contracts[name] = denoiser.model
    for name, contract in contracts.items():
        assert (contract.precision, contract.preset, contract.noise) == (name, "v2", "gaussian:0.3")
        assert (contract.channels, contract.alignment_px, contract.fixed_size) == (1, 4, None)
        assert contract.parity.max_abs_error <= 1e-5
    assert (trained / "int8.onnx").stat().st_size < 0.5 * (trained / "fp32.onnx").stat().st_size


@pytest.mark.parametrize("name", ["fp32.onnx", "int8.onnx"])
def test_self_test_passes_on_this_machine(trained: Path, name: str) -> None:
    assert "passed" in command("dae-run", "-m", name, "--self-test", "--device", "cpu", cwd=trained)
