"""Tiles give the same result as the whole image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import make_hourglass
from dae_runtime import Denoiser, InputError
from dae_runtime.inference.limits import Limits
from dae_runtime.inference.tiles import plan_tiles, smallest_tile


@pytest.fixture(scope="module", params=["fp32", "int8"])
def network(request) -> tuple[str, Denoiser, dict[int, Denoiser]]:
    """Precision, the network on whole images, and on tiles by their size."""
    content = make_hourglass(request.param)
    tiled = {side: Denoiser(content, "cpu", 1, tile_px=side) for side in (32, 64, 100)}
    return request.param, Denoiser(content, "cpu", 1), tiled


@given(
    size=st.tuples(st.integers(1, 230), st.integers(1, 230)),
    channels=st.sampled_from([(), (1,), (3,), (4,)]),
    side=st.sampled_from([32, 64, 100]),
    dtype=st.sampled_from([np.uint8, np.float32]),
)
@settings(max_examples=60, deadline=None)
def test_tiled_is_untiled(network, size, channels, side, dtype):
    precision, whole, tiled = network
    image = np.random.default_rng(0).random((*size, *channels), np.float32)
    image = image if dtype == np.float32 else (image * 255).astype(np.uint8)
    expected, received = whole.denoise(image), tiled[side].denoise(image)
    if precision == "int8":
        np.testing.assert_array_equal(received, expected)
    else:  # integers may step where the rounding of float arithmetic differs
        np.testing.assert_allclose(received.astype(float), expected, atol=1e-6 if dtype == np.float32 else 1, rtol=0)


def test_the_network_is_one_that_shows_a_halo_too_small():
    image = np.random.default_rng(0).random((90, 90), np.float32)
    content = make_hourglass("fp32", halo_px=1)
    difference = np.abs(Denoiser(content, "cpu", 1, tile_px=32).denoise(image) - Denoiser(content, "cpu", 1).denoise(image))
    assert difference.max() > 1e-4


@pytest.mark.parametrize("batch", [1, 3])
def test_images_above_the_default_size_are_tiled_and_equal(record_shapes, batch):
    content = make_hourglass("int8")
    whole, tiled = Denoiser(content, "cpu", 2), Denoiser(content, "cpu", 2)
    whole._first.limits = Limits(2**24, None, 2**24)
    shapes = record_shapes(tiled)
    image = np.random.default_rng(1).random((batch, 700, 1030, 1), np.float32)
    np.testing.assert_array_equal(tiled.denoise(image), whole.denoise(image))
    assert len(set(shapes)) == 1
    assert max(shapes[0][1:3]) <= 512
    assert len(shapes) == 6 * batch


def test_tiles_run_as_batches(record_shapes):
    denoiser = Denoiser(make_hourglass("int8"), "cpu", 1)
    image = np.random.default_rng(1).random((200, 200), np.float32)
    expected = denoiser.denoise(image)
    denoiser._first.limits = Limits(4 * 64**2, 64, 64**2)
    shapes = record_shapes(denoiser)
    np.testing.assert_array_equal(denoiser.denoise(image), expected)
    assert [shape[0] for shape in shapes] == [4] * (len(shapes) - 1) + [shapes[-1][0]]
    assert len(shapes) > 3


@given(
    length=st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
    largest=st.integers(1, 600),
    alignment=st.sampled_from([1, 2, 4, 6, 8, 64]),
    halo=st.integers(0, 60),
)
@settings(max_examples=300, deadline=None)
def test_tiles_cover_the_image_once_with_their_halo(length, largest, alignment, halo):
    tiling = plan_tiles(length, largest, alignment, halo)
    limit = max(largest, smallest_tile(alignment, halo))
    for size, side, spans in zip(length, (tiling.height_px, tiling.width_px), (tiling.rows, tiling.columns), strict=True):
        assert side <= limit
        assert side % alignment == 0
        padded = -(-size // alignment) * alignment
        assert [span.keep_px for span in spans] == [0, *(span.end_px for span in spans[:-1])]
        assert spans[-1].end_px == size
        for span in spans:
            assert span.start_px % alignment == 0
            assert span.keep_px < span.end_px
            assert span.start_px == 0 or span.keep_px - span.start_px >= halo
            assert span.start_px + side == padded or span.start_px + side - span.end_px >= halo
            assert 0 <= span.start_px <= padded - side


def test_sizes_of_tiles_are_few():
    """A thousand image sizes need no more than a dozen shapes per axis: the engine plans its memory for each."""
    sides = {plan_tiles((size, size), 512, 4, 8).height_px for size in range(1000, 2000)}
    assert len(sides) <= 12
    wasted = [plan_tiles((s, s), 512, 4, 8) for s in range(1000, 2000, 7)]
    areas = [len(t.rows) * t.height_px / size for t, size in zip(wasted, range(1000, 2000, 7), strict=True)]
    assert max(areas) < 1.15


def test_a_model_that_sees_everything_is_not_tiled(record_shapes):
    content = make_hourglass("fp32", halo_px=None)
    for options in ({"tile_px": 64}, {"max_memory_mb": 100}):
        with pytest.raises(InputError, match="whole image"):
            Denoiser(content, "cpu", 1, **options)
    denoiser = Denoiser(content, "cpu", 1)
    shapes = record_shapes(denoiser)
    denoiser.denoise(np.zeros((1000, 1100), np.uint8))
    assert shapes == [(1, 1000, 1100, 1)]
