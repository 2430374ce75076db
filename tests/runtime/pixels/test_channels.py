from __future__ import annotations

import numpy as np
import pytest

from builders import random_pixels
from dae_runtime.pixels.channels import copy_channels, packed

PIXELS = random_pixels((2, 7, 9, 4), np.uint16)


@pytest.mark.parametrize(
    "colors", [PIXELS, PIXELS[..., :3], PIXELS[:, ::-1, ::2, :3], PIXELS[..., :1], np.moveaxis(PIXELS, 1, 3)]
)
def test_packed_pixels_are_the_same_without_gaps(colors):
    result = packed(colors)
    np.testing.assert_array_equal(result, colors)
    assert (result is colors) == (colors is PIXELS)
    assert result.flags.c_contiguous


@pytest.mark.parametrize("channels", [1, 3])
def test_copied_channels_leave_those_beside_them(channels):
    target = np.zeros_like(PIXELS)
    copy_channels(PIXELS[..., :channels], target[..., :3])
    np.testing.assert_array_equal(target[..., :3], np.broadcast_to(PIXELS[..., :channels], (2, 7, 9, 3)))
    assert not target[..., 3].any()
