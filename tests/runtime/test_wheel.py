"""The wheel in a fresh environment with the base dependencies and [cpu] only: what a device gets."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dae_runtime.images import Image, read_image, write_image

ROOT = Path(__file__).parents[2]


def run(*command, **options):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300, check=False, **options)


@pytest.fixture(scope="module")
def scripts(tmp_path_factory) -> Path:
    """Folder of the scripts of an environment that holds the built wheel with [cpu], and nothing of this one."""
    folder = tmp_path_factory.mktemp("wheel")
    built = run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", folder, ROOT)
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("*.whl")
    assert run(sys.executable, "-m", "venv", folder / "venv").returncode == 0
    installed = run(folder / "venv/bin/pip", "install", "--no-input", f"{wheel}[cpu]")
    assert installed.returncode == 0, installed.stderr
    return folder / "venv/bin"


@pytest.fixture
def clean_environment():
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}


def test_dae_run_on_real_files(scripts, tmp_path, blur_file, blur, clean_environment):
    (tmp_path / "in").mkdir()
    shapes = [(1, 1), (5, 3), (28, 28), (481, 321), (1000, 667, 3)]
    for index, shape in enumerate(shapes):
        pixels = np.random.default_rng(index).integers(0, 256, shape).astype(np.uint8)
        write_image(tmp_path / "in" / f"{index}.png", Image(pixels))
    result = run(scripts / "dae-run", "-m", blur_file, tmp_path / "in", tmp_path / "out", cwd=tmp_path, env=clean_environment)
    assert result.returncode == 0, result.stderr
    for index in range(len(shapes)):
        noisy, clean = (read_image(tmp_path / folder / f"{index}.png").pixels for folder in ("in", "out"))
        np.testing.assert_array_equal(clean, blur.denoise(noisy))


def test_no_training_framework_is_there(scripts, tmp_path, clean_environment):
    code = "import importlib.util as u; print([n for n in {} if u.find_spec(n)])"
    heavy = ("tensorflow", "keras", "onnx", "tf2onnx", "jax", "matplotlib")
    result = run(scripts / "python", "-c", code.format(heavy), cwd=tmp_path, env=clean_environment)
    assert result.stdout.strip() == "[]", result.stderr


@pytest.mark.parametrize(("command", "extra"), [("dae-train", "train"), ("dae-export", "export")])
def test_the_other_commands_name_their_extra(scripts, tmp_path, clean_environment, command, extra):
    (tmp_path / "input").mkdir()
    result = run(scripts / command, tmp_path / "input", cwd=tmp_path, env=clean_environment)
    assert result.returncode == 1, result.stderr
    assert f"dae-toolkit[{extra}]" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_doctor_finds_no_problem(scripts, tmp_path, clean_environment):
    result = run(scripts / "dae-run", "--doctor", cwd=tmp_path, env=clean_environment)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "from onnxruntime " in result.stdout
