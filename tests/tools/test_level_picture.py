"""The picture of noise levels: one point for each image and kind of noise, in both parts."""

from __future__ import annotations

import numpy as np
import pytest

from builders import invoke
from dae_runtime.images import Image, read_image, write_image
from dae_tools.level_picture import NOISES, command, draw, point, synthetic


@pytest.fixture
def photographs(tmp_path):
    """Two smooth pictures in color, and noisy versions of them, as a folder of pairs."""
    ramp = np.linspace(60, 190, 96)
    for number in range(2):
        clean = np.stack([np.add.outer(ramp, ramp) / 2] * 3, axis=2)
        noisy = clean + np.random.default_rng(number).normal(0, 8, clean.shape)
        for name, pixels in (("clean", clean), ("noisy", noisy)):
            (tmp_path / name).mkdir(exist_ok=True)
            write_image(tmp_path / name / f"{number}.png", Image(np.rint(pixels).clip(0, 255).astype(np.uint8)))
    return tmp_path


def test_a_point_holds_the_true_the_measured_and_the_advised_level(photographs):
    noisy, clean = (read_image(photographs / name / "0.png").pixels for name in ("noisy", "clean"))
    true, measured, advised = point(noisy, clean)
    assert true == pytest.approx(8, rel=0.05)
    assert measured == pytest.approx(8, rel=0.25)
    assert 4.5 < advised <= measured + 1
    assert point(clean, clean)[0] == 0


def test_the_command_draws_every_image_twice(photographs):
    found = list(synthetic(photographs / "clean"))
    assert [name for name, _ in found] == ["clean", *NOISES] * 2
    assert found == list(synthetic(photographs / "clean"))
    figure = draw({"clean": [levels for name, levels in found if name == "clean"], "white": [found[1][1]]})
    assert [len(dots.get_offsets()) for axes in figure.axes for dots in axes.collections] == [2, 1, 2, 1]
    output = photographs / "levels.png"
    result = invoke(command, "--clean", photographs / "clean", "--pairs", photographs, "-o", output)
    assert result.exit_code == 0, result.output
    assert read_image(output).pixels.shape[:2] == (400, 800)
