"""The programs that files are made for, where a package brings them: the extra `hosts`, and npm."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

SIGMA = 8 / 255
NEWER_PYTHONS = ("python3.14", "python3.13", "python3.12")
"""VapourSynth needs Python 3.12."""


def picture(height: int, width: int, channels: int) -> np.ndarray:
    """A noisy picture, (H, W, C) float32 in steps of 1/255."""
    y, x = np.mgrid[:height, :width]
    scene = 128 + 60 * np.sin(x / 20)[..., None] + 40 * np.cos(y / 15)[..., None] * np.array([1, -1, 0.5])[:channels]
    noise = np.random.default_rng(0).normal(0, 10, (height, width, channels))
    return np.round(np.clip(scene + noise, 0, 255)).astype(np.float32) / 255


def agreement_db(a: np.ndarray, b: np.ndarray) -> float:
    """PSNR between two results, clipped to [0, 1]."""
    return float(-10 * np.log10(np.mean(np.square(np.clip(a, 0, 1).astype(np.float64) - np.clip(b, 0, 1))) + 1e-20))


def needs(package: str) -> pytest.MarkDecorator:
    """Skip without a package of the extra `hosts`; test_environment.py makes sure that continuous integration has it."""
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"{package} is not installed: extra hosts")


def newer_python() -> str | None:
    """Return an interpreter of Python 3.12 or newer, of this machine or of pyenv; None if there is none."""
    if sys.version_info >= (3, 12):
        return sys.executable
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [shutil.which(name) for name in NEWER_PYTHONS]
    found += [str(path) for path in sorted(root.glob("3.1[2-9].*/bin/python"), reverse=True)]
    return next((path for path in found if path and _runs(path)), None)


def _runs(python: str) -> bool:
    """Tell whether an interpreter starts; that of pyenv on the PATH may only say that it does not."""
    return subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="session")
def run_script() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a script of this folder in a process of its own: a program that crashes takes its process with it."""

    def run(interpreter: str | Path, script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [str(interpreter), str(Path(__file__).with_name(script)), *map(str, arguments)]
        environment = {
            name: value for name, value in os.environ.items() if name != "PYTHONPATH" or interpreter == sys.executable
        }
        return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)

    return run
