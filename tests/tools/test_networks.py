"""The network behind the bundled model `photo`, and those of its teacher, from which its training can go on."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

import dae_tools
from dae_runtime import Denoiser
from dae_runtime.contract import INPUT_NAME, SIGMA_NAME
from dae_runtime.images import read_image
from dae_runtime.pixels.arrays import convert
from dae_runtime.pixels.metrics import psnr_db
from dae_train.networks import load_trained

TEACHERS = Path(dae_tools.__file__).parent / "networks"
LARGEST_BYTES = 1_000_000
LEVEL = 5 / 255


@pytest.fixture(scope="module")
def noisy_and_clean():
    image = read_image(Path(__file__).parents[2] / "examples" / "clean" / "cat.png").pixels[:192, :192]
    clean = convert(image, np.float32)
    return clean + np.random.default_rng(0).normal(0, LEVEL, clean.shape).astype(np.float32), clean


@cache
def network(name):
    return load_trained(name if name == "photo" else str(TEACHERS / f"{name}.keras"), name)


def denoised(name, noisy):
    return np.asarray(network(name)([noisy[np.newaxis], np.float32([[LEVEL]])]))[0]


def test_there_are_those_of_the_teacher():
    paths = sorted(TEACHERS.glob("*"))
    assert [path.name for path in paths] == ["photo-camera.keras", "photo-white.keras"]
    assert all(path.stat().st_size < LARGEST_BYTES for path in paths)


@pytest.mark.parametrize("name", ["photo", "photo-camera", "photo-white"])
def test_each_is_told_the_level_and_denoises(name, noisy_and_clean):
    noisy, clean = noisy_and_clean
    assert [tensor.name for tensor in network(name).inputs] == [INPUT_NAME, SIGMA_NAME]
    assert psnr_db(clean, denoised(name, noisy), 1) > psnr_db(clean, noisy, 1) + 3


def test_the_bundled_file_computes_what_its_network_does(noisy_and_clean):
    noisy, _ = noisy_and_clean
    with Denoiser("photo", "cpu", 1) as denoiser:
        found = denoiser.denoise(noisy, sigma=LEVEL)
    assert psnr_db(denoised("photo", noisy), found, 1) > 46  # what 8 bits round; the networks of its teacher are further off
    for other in ("photo-camera", "photo-white"):
        assert psnr_db(denoised(other, noisy), found, 1) < psnr_db(denoised("photo", noisy), found, 1) - 1
