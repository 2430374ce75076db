"""Tiny models with true contracts, built without any training framework, and commands run as real processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import builders
from builders import BLUR, IDENTITY
from dae_runtime import Denoiser


@pytest.fixture(scope="session")
def make_model() -> Callable[..., bytes]:
    """Build a model: kernel (3, 3), channels, io_dtype, alignment, size, metadata text ("" for none), contract fields."""
    return builders.make_model


@pytest.fixture(scope="session")
def identity_kernel() -> np.ndarray:
    return IDENTITY


@pytest.fixture(scope="session")
def blur_kernel() -> np.ndarray:
    return BLUR


@pytest.fixture(scope="session")
def identity() -> Denoiser:
    """Float model, gray, alignment 4, whose output is its input."""
    return Denoiser(builders.make_model(IDENTITY, alignment=4), device="cpu", threads=1)


@pytest.fixture(scope="session")
def blur() -> Denoiser:
    """Float model, gray, alignment 4, a binomial blur."""
    return Denoiser(builders.make_model(alignment=4), device="cpu", threads=1)


@pytest.fixture(scope="session")
def blur_bytes() -> bytes:
    return builders.make_model(alignment=4)


@pytest.fixture
def blur_file(tmp_path: Path) -> Path:
    path = tmp_path / "blur.onnx"
    path.write_bytes(builders.make_model(alignment=4))
    return path


@pytest.fixture(scope="session")
def run_python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python code or a module in a fresh process."""

    def run(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, errors="replace", **options)

    return run


@pytest.fixture(scope="session")
def dae_run(run_python: Callable[..., Any]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `dae-run` in a fresh process."""
    return lambda *arguments, **options: run_python("-m", "dae_runtime", *arguments, **options)


@pytest.fixture(scope="session")
def turns():
    """What makes an image (H, W, C) upright, by its orientation from 1 to 8."""
    return {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a),
    }
