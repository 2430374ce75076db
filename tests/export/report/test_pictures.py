"""Pictures of a report: the images and the worst pixel."""

from __future__ import annotations

import numpy as np
import pytest
import pyvips

from dae_export.report.pictures import STRONGEST, draw


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


def test_a_sheet_holds_every_image_once():
    images = np.arange(1, 6, dtype=np.float32)[:, None, None, None] / 10 * np.ones((5, 4, 3, 1), np.float32)
    picture = draw({"noisy": images, "fp32": images, "file": images})
    values, counts = np.unique(decode(picture.png["noisy"]), return_counts=True)
    found = dict(zip(values.tolist(), counts.tolist(), strict=True))
    assert all(found[round(25.5 * n)] >= 12 for n in range(1, 6))
