"""Pairs on disk, and a model that is given the noise level."""

from __future__ import annotations

import numpy as np
import pytest

from builders import make_model
from dae_runtime.images import Image, write_image


@pytest.fixture
def folders(tmp_path):
    """Two pairs of smooth pictures in color with noise of 6 and 12 of 255."""
    ramp = np.linspace(60, 190, 96)
    for number, sigma in enumerate((6, 12)):
        clean = np.stack([np.add.outer(ramp, ramp) / 2] * 3, axis=2)
        noisy = clean + np.random.default_rng(number).normal(0, sigma, clean.shape)
        for name, pixels in (("clean", clean), ("noisy", noisy)):
            (tmp_path / name).mkdir(exist_ok=True)
            write_image(tmp_path / name / f"{number}.png", Image(np.rint(pixels).clip(0, 255).astype(np.uint8)))
    return tmp_path / "noisy", tmp_path / "clean"


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "told.onnx"
    path.write_bytes(make_model(channels=3, gain=10.0))
    return path
