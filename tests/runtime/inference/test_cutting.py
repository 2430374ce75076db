"""The engine gets no more pixels at once than its limit, counted with what images are extended by."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dae_runtime.contract import ImageSpec
from dae_runtime.inference.controls import Shares
from dae_runtime.inference.cutting import Cut
from dae_runtime.inference.limits import default_limits
from dae_runtime.pixels.arrays import to_model_channels

RUN_PX = 2**12


@settings(deadline=None)
@given(
    count=st.integers(1, 300),
    sides=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    alignment=st.sampled_from([1, 4, 32, 1024, 4096]),
    channels=st.sampled_from([1, 3]),
    model_channels=st.sampled_from([1, 3]),
    fixed=st.none() | st.tuples(st.integers(1, 64), st.integers(1, 64)),
)
@example(256, (1, 1), 4096, 1, 1, None)
@example(256, (1, 1), 4096, 3, 1, None)
def test_a_piece_is_bounded_by_its_pixels_with_padding(count, sides, alignment, channels, model_channels, fixed):
    batch = np.random.default_rng(0).integers(0, 256, (count, *sides, channels), dtype=np.uint8)
    images = ImageSpec(model_channels, 1 if fixed else alignment, 1, fixed)
    cut = Cut(batch, images, default_limits(images, RUN_PX), Shares(1, 1))
    for pixels, _, place in cut.pieces():
        number, height, width, _ = to_model_channels(pixels, model_channels).shape
        height, width = (side + -side % images.alignment_px for side in (height, width))
        planes = 3 if (model_channels, channels) == (1, 3) else 1  # of one color image
        assert number * height * width <= max(2 * RUN_PX * planes, height * width * planes)
        place(pixels)
    np.testing.assert_array_equal(cut.result, batch)
