"""Pictures of a report: they are the images, and show the pixel that matters."""

from __future__ import annotations

import numpy as np
import pytest
import pyvips

from dae_export.report.pictures import CROP_PX, LARGEST_SIDE_PX, STRONGEST, crop_around, draw, for_display


def decode(png: bytes) -> np.ndarray:
    return pyvips.Image.new_from_buffer(png, "").numpy()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_pictures_are_the_images(channels):
    rng = np.random.default_rng(0)
    stack = {name: rng.random((1, 9, 14, channels)).astype(np.float32) for name in ("noisy", "clean")}
    stack["fp32"] = np.full((1, 9, 14, channels), 0.5, np.float32)
    stack["file"] = stack["fp32"].copy()
    stack["file"][0, 4, 5] += 0.1
    picture = draw(stack)
    assert (picture.height_px, picture.width_px) == (9, 14)
    for name in ("noisy", "clean", "file"):
        expected = np.rint(stack[name][0] * 255)
        np.testing.assert_array_equal(decode(picture.png[name]).reshape(expected.shape), expected)
    difference = decode(picture.png["difference"]).reshape(9, 14, channels)
    assert picture.amplified == 4
    assert set(np.unique(difference)) == {128, 230}
    assert (difference[4, 5] == 230).all()


def test_equal_images_have_a_gray_difference():
    same = np.zeros((1, 4, 4, 1), np.float32)
    picture = draw({"noisy": same, "fp32": same, "file": same})
    assert picture.amplified == STRONGEST
    assert set(np.unique(decode(picture.png["difference"]))) == {128}


def test_small_images_share_a_sheet_and_large_ones_show_their_middle():
    small = {"noisy": np.arange(40 * 28 * 28, dtype=np.float32).reshape(40, 28, 28, 1)}
    (sheet,) = for_display(small)
    assert sheet["noisy"].shape == (16, 28, 28, 1)
    large = {"noisy": np.arange(3 * 300 * 500, dtype=np.float32).reshape(3, 300, 500, 1)}
    first, second = for_display(large)
    np.testing.assert_array_equal(
        second["noisy"][0], large["noisy"][1, 22 : 22 + LARGEST_SIDE_PX, 122 : 122 + LARGEST_SIDE_PX]
    )
    assert first["noisy"].shape == (1, LARGEST_SIDE_PX, LARGEST_SIDE_PX, 1)


def test_a_sheet_holds_every_image_once():
    images = np.arange(1, 6, dtype=np.float32)[:, None, None, None] / 10 * np.ones((5, 4, 3, 1), np.float32)
    picture = draw({"noisy": images, "fp32": images, "file": images})
    values, counts = np.unique(decode(picture.png["noisy"]), return_counts=True)
    found = dict(zip(values.tolist(), counts.tolist(), strict=True))
    assert all(found[round(25.5 * n)] >= 12 for n in range(1, 6))


@pytest.mark.parametrize("at", [(0, 0), (49, 79), (20, 40), (49, 0)])
@pytest.mark.parametrize("size", [(50, 80), (50, 20), (8, 9)])
def test_a_crop_shows_its_pixel(at, size):
    row, column = min(at[0], size[0] - 1), min(at[1], size[1] - 1)
    image = np.arange(size[0] * size[1], dtype=np.float32).reshape(1, *size, 1)
    crop, crop_row, crop_column = crop_around({"noisy": image}, row, column)
    assert crop["noisy"][0, crop_row, crop_column, 0] == image[0, row, column, 0]
    assert crop["noisy"].shape[1:3] == (min(size[0], CROP_PX), min(size[1], CROP_PX))
