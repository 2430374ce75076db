from __future__ import annotations

import numpy as np
import pytest

from dae_runtime.pixels.hidden import CORE_PX, MARGIN_PX, fill_hidden, hidden_in


def picture(shape, hidden, dtype=np.uint8):
    image = np.full((*shape, 4), 120, dtype)
    image[..., 3] = np.iinfo(dtype).max
    image[hidden] = 0
    return image


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_colors_near_the_visible_part_become_those_of_it(dtype):
    shape = (2 * CORE_PX + 30, CORE_PX + 17)
    hidden = np.ones(shape, bool)
    hidden[CORE_PX - 9 : CORE_PX + 5, 40:90] = False
    image = picture(shape, hidden, dtype)
    fill_hidden(image, hidden)
    near = (slice(CORE_PX - 9 - MARGIN_PX, CORE_PX + 5 + MARGIN_PX), slice(0, 90 + MARGIN_PX))
    np.testing.assert_array_equal(image[near][..., :3], 120)
    assert (image[hidden][:, 3] == 0).all()


def test_visible_pixels_stay_and_far_ones_are_not_looked_at():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (900, 40, 2), np.uint8)
    image[:200, :, 1] = 255
    image[200:, :, 1] = 0
    hidden, before = hidden_in(image[None])[0], image.copy()
    fill_hidden(image, hidden)
    np.testing.assert_array_equal(image[~hidden], before[~hidden])
    np.testing.assert_array_equal(image[600:], before[600:])
    assert (image[200:220, :, 0] != before[200:220, :, 0]).any()


@pytest.mark.parametrize("alpha", [0, 255])
def test_a_picture_that_is_all_or_nowhere_transparent_stays(alpha):
    image = np.random.default_rng(0).integers(0, 255, (20, 30, 4), np.uint8)
    image[..., 3] = alpha
    before = image.copy()
    fill_hidden(image, hidden_in(image[None])[0])
    np.testing.assert_array_equal(image, before)
