"""A teacher that sees images flipped and turned."""

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from dae_train.learning.turns import Turned

IMAGES = np.random.default_rng(0).random((64, 6, 6, 2), np.float32)
LEVELS = np.linspace(0.1, 0.9, 64, dtype=np.float32)[:, None]


def shifting(size: tuple[int | None, int | None], leveled: bool = False) -> Any:
    """A teacher that moves each image one pixel down and adds its level: it gives a turned image something else."""
    image, level = keras.Input((*size, 2)), keras.Input((1,))
    moved = keras.layers.Lambda(lambda pixels: ops.roll(pixels, 1, axis=1))(image)
    inputs = [image, level] if leveled else image
    return keras.Model(inputs, keras.layers.Add()([moved, ops.reshape(level, (-1, 1, 1, 1))]) if leveled else moved)


@pytest.mark.parametrize("leveled", [False, True])
def test_each_image_is_seen_in_one_of_eight_ways(leveled: bool) -> None:
    given = (IMAGES, LEVELS) if leveled else (IMAGES,)
    output = ops.convert_to_numpy(Turned(shifting((6, 6), leveled), seed=1)(*given))
    if leveled:
        output = output - LEVELS[:, :, None, None]
    # down, up, right or left: two of the eight ways each
    ways = [np.roll(IMAGES, step, axis) for axis in (1, 2) for step in (1, -1)]
    found = [[np.allclose(image, way[number], atol=1e-6) for way in ways] for number, image in enumerate(output)]
    assert [sum(row) for row in found] == [1] * len(IMAGES)
    assert min(np.sum(found, axis=0)) >= len(IMAGES) / 12


def test_oblong_images_are_flipped_only() -> None:
    images = IMAGES[:, :4]
    output = ops.convert_to_numpy(Turned(shifting((None, None)), seed=1)(images))
    down, up = (np.roll(images, step, axis=1) for step in (1, -1))
    is_down, is_up = (np.isclose(output, way, atol=1e-6).all(axis=(1, 2, 3)) for way in (down, up))
    assert (is_down ^ is_up).all()
    assert 16 < is_down.sum() < 48


def test_a_teacher_that_does_not_care_is_not_changed() -> None:
    same = keras.Sequential([keras.Input((6, 6, 2)), keras.layers.Rescaling(0.5)])
    turned = Turned(same, seed=3)
    np.testing.assert_allclose(ops.convert_to_numpy(turned(IMAGES)), 0.5 * IMAGES, atol=1e-6)
    assert turned.trainable_variables == []
