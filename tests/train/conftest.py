"""Shared fixtures: small images that need no download, and the command as a real process."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest

COMMAND = [sys.executable, "-c", "import sys; sys.argv[0] = 'dae-train'; from dae_train.cli import main; main()"]


def glyph_images(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return uint8 (count, 28, 28) bright digits on black, and their labels."""
    from dae_train.data.synthetic import FONTS, render_text

    rng = np.random.default_rng(seed)
    images, labels = np.zeros((count, 28, 28), np.uint8), rng.integers(0, 10, count)
    for image, label in zip(images, labels, strict=True):
        glyph = render_text(str(label), 20, str(rng.choice(FONTS)))
        row, column = rng.integers(2, 6), rng.integers(2, 12)
        region = image[row : row + glyph.shape[0], column : column + glyph.shape[1]]
        region[:] = (glyph[: region.shape[0], : region.shape[1]] * 255).astype(np.uint8)
    return images, labels


@pytest.fixture(scope="session")
def glyphs() -> np.ndarray:
    """512 images, uint8 (N, 28, 28)."""
    return glyph_images(512, 0)[0]


@pytest.fixture(scope="session")
def digits_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An .npz file laid out like MNIST's, with 320 training and 40 test images."""
    (x_train, y_train), (x_test, y_test) = glyph_images(320, 1), glyph_images(40, 2)
    path = tmp_path_factory.mktemp("data") / "digits.npz"
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    return path


@pytest.fixture(scope="session")
def dae_train() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command to its end in a process of its own."""

    def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            env={**os.environ, **environment},
        )

    return run


@pytest.fixture(scope="session")
def start_dae_train() -> Callable[..., subprocess.Popen[str]]:
    """Start the command in a process of its own."""

    def start(*arguments: object) -> subprocess.Popen[str]:
        return subprocess.Popen([*COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    return start
