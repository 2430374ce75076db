"""The wheel in a fresh environment with the base dependencies and [cpu] only, as on a device."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dae_runtime.images import Image, read_image, write_image
from dae_runtime.models import bundled_models

pytestmark = pytest.mark.network
ROOT = Path(__file__).parents[2]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", ".gitignore", "runtime", "export", "train")
LARGEST_WHEEL_BYTES = 6_500_000


def run(*command, **options):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300, check=False, **options)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory, make_model) -> Path:
    """The wheel, built of a copy of the sources that holds one bundled model more, `tiny`."""
    folder = tmp_path_factory.mktemp("wheel")
    (folder / "sources").mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / "sources" / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, folder / "sources" / name)
    models = folder / "sources/runtime/dae_runtime/models"
    models.mkdir(exist_ok=True)
    (models / "tiny.onnx").write_bytes(make_model(alignment=4))
    built = run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", folder, folder / "sources")
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def scripts(wheel) -> Path:
    """Folder of the scripts of an environment that holds the built wheel with [cpu], and nothing of this one."""
    environment = wheel.parent / "venv"
    assert run(sys.executable, "-m", "venv", environment).returncode == 0
    installed = run(environment / "bin/pip", "install", "--no-input", f"{wheel}[cpu]")
    assert installed.returncode == 0, installed.stderr
    return environment / "bin"


@pytest.fixture
def clean_environment():
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}


def test_the_wheel_is_small_and_holds_every_bundled_model(wheel):
    assert wheel.stat().st_size < LARGEST_WHEEL_BYTES
    held = set(zipfile.ZipFile(wheel).namelist())
    for name in ("tiny", *bundled_models()):
        assert f"dae_runtime/models/{name}.onnx" in held


def test_bundled_models_are_found_by_name(scripts, tmp_path, blur, clean_environment):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30)).astype(np.uint8)
    write_image(tmp_path / "in.png", Image(pixels))
    result = run(scripts / "dae-run", "-m", "tiny", "in.png", "out.png", cwd=tmp_path, env=clean_environment)
    assert result.returncode == 0, result.stderr
    np.testing.assert_array_equal(read_image(tmp_path / "out.png").pixels, blur.denoise(pixels))
    listed = run(scripts / "dae-run", "--list-models", cwd=tmp_path, env=clean_environment)
    assert [line.split()[0] for line in listed.stdout.splitlines()] == sorted(["tiny", *bundled_models()])


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
    assert f"pip install '.[{extra}]'" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_doctor_finds_no_problem(scripts, tmp_path, clean_environment):
    result = run(scripts / "dae-run", "--doctor", cwd=tmp_path, env=clean_environment)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "from onnxruntime " in result.stdout
