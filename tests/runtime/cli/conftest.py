"""A folder of images."""

from __future__ import annotations

from pathlib import Path

import pytest

from builders import random_pixels
from dae_runtime.images import Image, write_image


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three gray images of 10 x 12 pixels."""
    folder = tmp_path / "in"
    folder.mkdir()
    for index in range(3):
        write_image(folder / f"{index}.png", Image(random_pixels((10, 12), seed=index)))
    return folder
