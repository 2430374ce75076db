"""What is uploaded: a wheel and a source archive, the same each time, and installed by every Python that it is for."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from builders import random_pixels
from dae_runtime import Denoiser
from dae_runtime.images import Image, read_image, write_image

pytestmark = pytest.mark.network
ROOT = Path(__file__).parents[2]
SOURCES = (
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    ".gitignore",
    "runtime",
    "export",
    "train",
    "tools",
    "tests",
)
PYTHONS = ("3.11", "3.12", "3.13")


def run(*command, **options):
    plain = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, timeout=500, check=False, env=plain, **options)


def python_of(version: str) -> str | None:
    """Return an interpreter of a version of Python: this one, one of the PATH, or one of pyenv."""
    if sys.version.startswith(f"{version}."):
        return sys.executable
    pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    return str(pyenv[-1]) if pyenv else shutil.which(f"python{version}")  # what pyenv puts on the PATH may lead nowhere


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, Path]:
    """The source archive and the wheel made of it, and beside them the wheel made of the sources."""
    folder = tmp_path_factory.mktemp("release")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / "sources" / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (folder / "sources").mkdir(exist_ok=True)
            shutil.copy(ROOT / name, folder / "sources" / name)
    assert run(sys.executable, "-m", "venv", folder / "tools").returncode == 0
    installed = run(folder / "tools/bin/pip", "install", "--no-input", "build>=1.2,<2", "twine>=6.1,<8")
    assert installed.returncode == 0, installed.stderr
    for output, options in (("dist", ()), ("direct", ("--wheel",))):
        done = run(folder / "tools/bin/python", "-m", "build", *options, "-o", folder / output, folder / "sources")
        assert done.returncode == 0, done.stdout + done.stderr
    (archive,) = (folder / "dist").glob("*.tar.gz")
    (wheel,) = (folder / "dist").glob("*.whl")
    return archive, wheel


def test_the_same_wheel_comes_from_the_archive_and_from_the_sources(built):
    direct = built[1].parents[1] / "direct" / built[1].name
    first, second = (hashlib.sha256(path.read_bytes()).hexdigest() for path in (built[1], direct))
    assert first == second


def test_they_hold_what_is_used_and_nothing_else(built):
    archive, wheel = built
    with tarfile.open(archive) as file:
        in_archive = {name.partition("/")[2] for name in file.getnames()}
    in_wheel = set(zipfile.ZipFile(wheel).namelist())
    for package in ("runtime/dae_runtime", "runtime/dae_ocrmypdf", "export/dae_export", "train/dae_train"):
        assert f"{package}/py.typed" in in_archive
        assert f"{package.partition('/')[2]}/py.typed" in in_wheel
    for name in ("gray", "photo", "color"):
        assert f"runtime/dae_runtime/models/{name}.onnx" in in_archive
        assert f"dae_runtime/models/{name}.onnx" in in_wheel
    assert {"LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml"} <= in_archive
    assert any(name.endswith("dist-info/licenses/LICENSE") for name in in_wheel)
    tops = {name.partition("/")[0] for name in in_wheel}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "dae_runtime",
        "dae_ocrmypdf",
        "dae_export",
        "dae_train",
    }
    assert not any(name.startswith(("tests", "tools", "docs", "examples")) for name in in_archive)
    assert not any("__pycache__" in name for name in in_archive | in_wheel)


def test_the_index_would_take_them(built):
    checked = run(built[0].parents[1] / "tools/bin/python", "-m", "twine", "check", "--strict", *built)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("version", PYTHONS)
def test_it_installs_and_runs(built, tmp_path, version):
    python = python_of(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    assert run(python, "-m", "venv", tmp_path / "venv").returncode == 0
    scripts = tmp_path / "venv" / "bin"
    installed = run(scripts / "pip", "install", "--no-input", f"{built[1]}[cpu]")
    assert installed.returncode == 0, installed.stderr
    assert run(scripts / "python", "-V").stdout.startswith(f"Python {version}.")
    tested = run(scripts / "dae-run", "--self-test", cwd=tmp_path)
    assert tested.returncode == 0, tested.stdout + tested.stderr
    pixels = random_pixels((40, 30))
    write_image(tmp_path / "noisy.png", Image(pixels))
    done = run(scripts / "dae-run", "noisy.png", "clean.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(read_image(tmp_path / "clean.png").pixels, Denoiser(device="cpu").denoise(pixels))
