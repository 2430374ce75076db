"""A bundled model for digits or pages is told of photographs, once, and of nothing that it is made for."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from builders import invoke
from dae_runtime import Denoiser
from dae_runtime.cli.command import command
from dae_runtime.images import Image, read_image, write_image
from dae_tools.cards.drawings import digits, page

EXAMPLES = Path(__file__).parents[2] / "examples"
PHOTOGRAPHS = sorted([*(EXAMPLES / "noisy").iterdir(), *(EXAMPLES / "clean").iterdir()])
MADE_FOR = {"digits": "white digits on black", "mnist-v2": "white digits on black", "document": "scanned pages of text"}


def noisy(clean: np.ndarray, sigma: float) -> np.ndarray:
    return (clean / 255 + np.random.default_rng(0).normal(0, sigma, clean.shape)).astype(np.float32)


def forms(image: np.ndarray) -> list[np.ndarray]:
    """Return an image of values from 0 to 1, and beyond, in each type of pixels."""
    return [
        image,
        *(np.rint(np.clip(image, 0, 1) * high).astype(kind) for kind, high in ((np.uint8, 255), (np.uint16, 65535))),
    ]


def warnings_of(name: str, images: list[np.ndarray], caplog) -> list[str]:
    caplog.clear()
    with Denoiser(name, "cpu", 1) as denoiser, caplog.at_level(logging.WARNING, "dae_runtime"):
        for image in images:
            denoiser.denoise(image)
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("name", MADE_FOR)
@pytest.mark.parametrize("path", PHOTOGRAPHS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_photograph_is_told_once_with_the_remedy(name, path, caplog):
    photograph = read_image(path).pixels
    for image in forms((photograph / 255).astype(np.float32)):
        (told,) = warnings_of(name, [image, image], caplog)
        assert told.startswith(f"the model {name} is made for {MADE_FOR[name]} and spoils other images, such as photographs.")
        assert "Use the default models" in told


@pytest.mark.parametrize("sigma", [0, 0.2, 0.5, 0.8])
@pytest.mark.parametrize("name", ["digits", "mnist-v2"])
def test_digits_are_none(name, sigma, caplog):
    board = np.concatenate(list(digits()), axis=1)
    for clean in (*digits(), board, np.pad(board, ((300, 300), (200, 200), (0, 0)))):
        assert warnings_of(name, forms(noisy(clean, sigma)), caplog) == []


@pytest.mark.parametrize("light", [1.0, 0.8, 0.65])
def test_pages_are_none(light, caplog):
    for sheet in page():
        for image in (sheet, np.tile(sheet, (4, 3)), np.repeat(sheet[..., None], 3, 2)):
            assert warnings_of("document", forms(noisy(light * image, 0.03)), caplog) == []


@pytest.mark.parametrize("name", ["gray", "photo", "color", "gray-25", "default"])
def test_models_for_photographs_take_anything(name, caplog):
    for image in (read_image(PHOTOGRAPHS[0]).pixels, digits()[3, ..., 0], page()[0]):
        told = [text for text in warnings_of(name, [image], caplog) if "is made for color images" not in text]
        assert told == []


def test_a_model_of_a_user_may_have_any_name(tmp_path, caplog):
    from dae_runtime.models import bundled_models

    copy = tmp_path / "digits.onnx"
    copy.write_bytes(bundled_models()["digits"].read_bytes())
    assert warnings_of(str(copy), [read_image(PHOTOGRAPHS[0]).pixels], caplog) == []


def test_a_run_over_many_photographs_says_it_in_one_line(tmp_path):
    (tmp_path / "in").mkdir()
    for number, path in enumerate(PHOTOGRAPHS):
        write_image(tmp_path / "in" / f"{number}.png", Image(read_image(path).pixels))
    done = invoke(command, "-m", "document", tmp_path / "in", tmp_path / "out", "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert done.stderr.count("the model document is made for scanned pages of text") == 1
    quiet = invoke(command, "-q", "-m", "document", tmp_path / "in", tmp_path / "quiet", "--device", "cpu")
    assert (quiet.exit_code, quiet.stderr) == (0, "")
