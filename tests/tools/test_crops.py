"""Contact sheets of crops from pairs."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from builders import invoke, make_model
from dae_runtime import Denoiser
from dae_runtime.images import Image, read_image, write_image
from dae_runtime.pixels.metrics import psnr_db
from dae_tools.crops import busiest, command, rows
from dae_tools.pairs.scores import read_pairs


@pytest.fixture
def folders(tmp_path):
    """Three pairs, the second gray: flat but for stripes below row 48 and right of column 32."""
    for name in ("noisy", "clean"):
        (tmp_path / name).mkdir()
    clean = np.full((96, 80), 120.0)
    clean[48:, 32:] += np.where(np.arange(48) % 4 < 2, 60, 0)
    for number, colors in enumerate([(1.0, 0.8, 0.6), None, (0.6, 0.8, 1.0)]):
        picture = clean if colors is None else clean[..., None] * colors
        noisy = picture + np.random.default_rng(number).normal(0, 12, picture.shape)
        for name, pixels in (("clean", picture), ("noisy", noisy)):
            write_image(tmp_path / name / f"{number}.png", Image(np.rint(pixels).clip(0, 255).astype(np.uint8)))
    (tmp_path / "blur.onnx").write_bytes(make_model(channels=3))
    return tmp_path


def test_a_sheet_has_a_row_for_each_image(folders):
    arguments = ("--noisy", folders / "noisy", "--clean", folders / "clean", "-m", folders / "blur.onnx", "--side", 32)
    result = invoke(command, *arguments, "-o", folders / "sheet.png", "--h", 10)
    assert result.exit_code == 0, result.output
    sheet = read_image(folders / "sheet.png").pixels
    assert sheet.shape == (3 * 96 + 2 * 4, 4 * 96 + 3 * 4, 3)
    with Denoiser(folders / "blur.onnx", "cpu", 1) as denoiser:
        found = rows(denoiser, list(read_pairs(folders / "noisy", folders / "clean")), 32, 10.0, None)
    for number, (row, line) in enumerate(zip(found, result.output.splitlines(), strict=True)):
        top, left = row.place
        assert top >= 48
        assert left >= 32
        assert line == row.line()
        assert line.startswith(
            f"{number}.png at ({top}, {left}): noisy {psnr_db(row.crops[3], row.crops[0], 255):.2f}, model "
        )
        for column, crop in enumerate(row.crops):
            shown = sheet[number * 100 : number * 100 + 96, column * 100 : column * 100 + 96]
            np.testing.assert_array_equal(shown[1::3, 1::3], crop)
            np.testing.assert_array_equal(shown, crop.repeat(3, axis=0).repeat(3, axis=1))
    noisy = read_image(folders / "noisy/0.png").pixels
    top, left = found[0].place
    expected = cv2.fastNlMeansDenoisingColored(noisy, None, 10, 10, 7, 21)[top : top + 32, left : left + 32]
    np.testing.assert_array_equal(found[0].crops[2], expected)


def test_images_are_evenly_spaced_and_crops_fit_the_smallest(folders):
    arguments = ("--noisy", folders / "noisy", "--clean", folders / "clean", "-m", folders / "blur.onnx")
    result = invoke(command, *arguments, "-o", folders / "sheet.png", "--count", 2, "--side", 500, "--scale", 1)
    assert result.exit_code == 0, result.output
    assert [line.split()[0] for line in result.output.splitlines()] == ["0.png", "1.png"]
    assert read_image(folders / "sheet.png").pixels.shape == (2 * 80 + 4, 4 * 80 + 3 * 4, 3)


def test_the_busiest_place():
    image = np.zeros((80, 64, 3), np.uint8)
    image[40:44, 36:60:2] = 255
    top, left = busiest(image, 16)
    assert (top, left) in [(32, 32), (32, 48)]
    assert busiest(image, 64) in [(0, 0), (16, 0)]
    assert busiest(image, 100) == (0, 0)
