"""Crops in one file."""

from __future__ import annotations

import numpy as np
import pytest

from builders import invoke, random_pixels
from dae_runtime import InputError
from dae_runtime.images import Image, write_image
from dae_tools.accelerator.command import command
from dae_tools.accelerator.pack import pack


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos/more").mkdir(parents=True)
    shapes = {"a.png": (40, 50, 3), "b.png": (30, 30), "more/c.png": (16, 60, 3)}
    for number, (name, shape) in enumerate(shapes.items()):
        write_image(tmp_path / "photos" / name, Image(random_pixels(shape, seed=number)))
    return tmp_path / "photos"


def holds(image: np.ndarray, crop: np.ndarray) -> bool:
    views = np.lib.stride_tricks.sliding_window_view(image, crop.shape)
    return bool((views == crop).all(axis=(-3, -2, -1)).any())


def test_every_image_gives_its_share_of_crops(photos, tmp_path):
    output = tmp_path / "crops.npy"
    mib = 9.5 * 24 * 24 * 3 / 2**20
    assert pack([photos], output, 3, 24, mib) == 9
    crops = np.load(output)
    assert crops.shape == (9, 24, 24, 3)
    assert crops.dtype == np.uint8
    gray = np.repeat(random_pixels((30, 30), seed=1)[..., None], 3, axis=2)
    low = np.pad(random_pixels((16, 60, 3), seed=2), [(0, 8), (0, 0), (0, 0)], mode="reflect")
    for image in (random_pixels((40, 50, 3), seed=0), gray, low):
        assert sum(holds(image, crop) for crop in crops) == 3
    before = output.read_bytes()
    pack([photos], output, 3, 24, mib)
    assert output.read_bytes() == before
    pack([photos], output, 3, 24, mib, seed=1)
    assert output.read_bytes() != before


def test_the_command_packs_gray_crops(photos, tmp_path):
    output = tmp_path / "crops.npy"
    result = invoke(command, "pack", photos, photos, "-o", output, "--channels", 1, "--side", 16, "--mib", 0.01)
    assert result.exit_code == 0, result.output
    assert np.load(output).shape == (40, 16, 16, 1)
    assert output.stat().st_size <= 0.011 * 2**20
    assert invoke(command, "pack", photos, "-o", tmp_path / "crops.npz").exit_code == 2
    assert invoke(command, "pack", photos, "-o", output, "--mib", 65).exit_code == 2


def test_what_cannot_be_packed_is_said(photos, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="found none"):
        pack([tmp_path / "empty"], tmp_path / "crops.npy", 3, 16, 1)
    with pytest.raises(InputError, match="at least 2"):
        pack([photos], tmp_path / "crops.npy", 3, 64, 0.02)
    assert not (tmp_path / "crops.npy").exists()
