"""The command line: errors, startup time and exit codes."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dae_runtime import __version__

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.alone
def test_help_is_quick_and_names_the_noises(dae_train: Run) -> None:
    started = time.perf_counter()
    done = dae_train("--help")
    assert time.perf_counter() - started < 3
    assert done.returncode == 0
    for part in ("poisson-gaussian:GAIN,SIGMA", "--noise-once", "--resume", "synthetic", "[default: mse;"):
        assert part in done.stdout


def test_the_version_is_that_of_the_toolkit(dae_train: Run) -> None:
    assert dae_train("--version").stdout == f"dae-train, version {__version__}\n"


MISTAKES: list[tuple[list[str], int, str]] = [
    (["--noise", "gauss:1"], 2, "not a kind of noise"),
    (["--preset", "v3"], 2, "one of v1, v2"),
    (["--loss", "psnr"], 2, "bce, mse, l1, charbonnier or mse-by-level"),
    (["--epochs", "0"], 2, "at least 1"),
    (["--epochs", "many"], 2, "not a valid integer"),
    (["--lrr", "1"], 2, "No such option"),
    (["--config", "missing.toml"], 2, "missing.toml"),
    (["nowhere"], 2, "no training data at 'nowhere'"),
    (["--target", "nowhere"], 2, "folder of noisy images"),
    (["--device", "tpu"], 2, "auto, cpu, gpu"),
    (["--preset", "v2", "--z-dim", "2"], 2, "image_px must be given exactly with z_dim"),
    (["--z-dim", "2"], 2, "unknown keys z_dim"),
    (["--init", "nowhere"], 2, "no trained network at 'nowhere'"),
    (["--teacher", "digits.npz"], 2, "expected a .keras file or a run directory"),
    (["--ema", "1"], 2, "--ema (training.ema) must be at least 0 and below 1"),
    (["--val-split", "1"], 2, "--val-split (data.validation_fraction) must be above 0 and below 1"),
    (
        ["--init", "photo", "--noise", "gaussian:0.1"],
        2,
        "--noise (noise.spec) must be a range of levels with --sigma-input (model.sigma)",
    ),
    (["--steps", "9", "--epochs", "9"], 2, "Give one of them"),
    (["--processes", "2"], 2, "--processes 2 needs --process-id"),
    (["--process-id", "0"], 2, "belong to --processes"),
    (["--processes", "2", "--process-id", "2"], 2, "--process-id (index) must be from 0 to 1"),
    (["--processes", "2", "--process-id", "0", "--coordinator", "here:1"], 2, "needs KERAS_BACKEND=jax"),
    (["--resume", "--config", "x.toml"], 2, "Omit --config"),
    (["--resume", "--overwrite"], 2, "Omit --overwrite"),
    (["--resume"], 1, "nothing to resume: runs/synthetic-edge-s"),
    (["digits.npz", "--preset", "v2", "--patch-size", "30"], 1, "multiples of 4"),
]
ALL_IN_ONE_PROCESS = """
import contextlib, io, json, sys
from dae_train.cli import main
results = []
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["dae-train", *arguments]
    with contextlib.redirect_stderr(io.StringIO()) as said:
        try:
            main()
        except SystemExit as end:
            results.append([end.code, said.getvalue()])
json.dump(results, sys.stdout)
"""


@pytest.fixture(scope="module")
def mistakes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[int, str]]]:
    """A folder, and what each of the mistakes in it ends in, where whoever imports Keras ends the process."""
    folder = tmp_path_factory.mktemp("mistakes")
    np.savez(folder / "digits.npz", images=np.zeros((4, 32, 32), np.uint8))
    (folder / "keras.py").write_text("raise SystemExit('keras was imported')")
    paths = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    command = [sys.executable, "-c", ALL_IN_ONE_PROCESS, json.dumps([arguments for arguments, _, _ in MISTAKES])]
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONSAFEPATH": ""}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


@pytest.mark.parametrize("place", range(len(MISTAKES)), ids=[" ".join(arguments) for arguments, _, _ in MISTAKES])
def test_usage_errors_precede_loading_the_framework(mistakes: tuple[Path, list[tuple[int, str]]], place: int) -> None:
    _, code, words = MISTAKES[place]
    folder, results = mistakes
    received, said = results[place]
    assert received == code, said
    assert words in " ".join(said.split())
    assert "Traceback" not in said
    assert not (folder / "runs").exists()


@pytest.mark.slow
def test_unsupported_backend(dae_train: Run, tmp_path: Path) -> None:
    done = dae_train("-o", tmp_path / "run", KERAS_BACKEND="torch")
    assert done.returncode != 0
    assert "KERAS_BACKEND is 'torch'; training supports tensorflow and jax" in done.stderr


@pytest.mark.slow
def test_missing_gpu_is_an_error(dae_train: Run, tmp_path: Path, digits_file: Path) -> None:
    done = dae_train(digits_file, "-o", tmp_path / "run", "--device", "gpu", CUDA_VISIBLE_DEVICES="-1")
    assert done.returncode == 1
    assert "--device gpu: tensorflow finds no GPU" in done.stderr


@pytest.mark.slow
def test_command_trains_reports_and_names_the_next_command(dae_train: Run, tmp_path: Path, digits_file: Path) -> None:
    run = tmp_path / "run"
    words = ["--epochs", 1, "--batch-size", 16, "--noise", "gaussian:0.5", "--device", "cpu"]
    done = dae_train(digits_file, "-o", run, *words)
    assert done.returncode == 0, done.stderr
    assert re.search(rf"training on CPU.*; data: {digits_file}, noise: gaussian:0\.5$", done.stderr, re.M)
    lines = done.stdout.splitlines()
    assert any(line.startswith("validation: psnr ") for line in lines)
    assert any(line.startswith("test: bce ") and "noisy psnr" in line and line.endswith("images 40") for line in lines)
    assert lines[-1] == f"next: dae-export {run}"
    assert f"dae-train {digits_file} --noise gaussian:0.5 --epochs 1 --batch-size 16" in (run / "run.toml").read_text()
    refused = dae_train("--resume", "-o", run, "--lr", 1, "--seed", 0)
    assert refused.returncode == 2
    assert "--lr 1.0 (the run has 0.003)" in refused.stderr
