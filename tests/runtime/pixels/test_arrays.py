from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from dae_runtime.errors import InputError
from dae_runtime.inference import windows
from dae_runtime.inference.patches import bump, cut_patches, window_starts
from dae_runtime.pixels.arrays import as_image, convert, pad_to_multiple


@pytest.mark.parametrize("through", [np.uint16, np.float32])
def test_every_8_bit_value_survives_a_wider_type(through):
    values = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(convert(convert(values, through), np.uint8), values)


def test_every_16_bit_value_survives_float():
    values = np.arange(65536, dtype=np.uint16)
    np.testing.assert_array_equal(convert(convert(values, np.float32), np.uint16), values)


def test_16_to_8_bits_rounds_to_nearest():
    values = np.arange(65536, dtype=np.uint16)
    np.testing.assert_array_equal(convert(values, np.uint8), np.rint(values.astype(np.float64) / 257).astype(np.uint8))


def test_floats_are_clipped_and_rounded():
    values = np.array([-1, -0.001, 0.4999 / 255, 0.5001 / 255, 1, 9], np.float32)
    np.testing.assert_array_equal(convert(values, np.uint8), [0, 0, 0, 1, 255, 255])


def test_large_and_strided_floats_are_rounded_as_small_ones():
    """They are converted part by part."""
    values = np.random.default_rng(0).random((2, 300, 400, 3), np.float32) * np.float32(1.2) - np.float32(0.1)
    for image in (values, values[:, ::-1, 1::2], np.moveaxis(values, 3, 1), values[:0]):
        for dtype in (np.uint8, np.uint16):
            expected = np.rint(image * np.float32(np.iinfo(dtype).max)).clip(0, np.iinfo(dtype).max).astype(dtype)
            np.testing.assert_array_equal(convert(image, dtype), expected)
    within = values.clip(0, 1)
    np.testing.assert_array_equal(convert(within, np.uint8, clip=False), convert(within, np.uint8))


def test_padding_needs_no_copy_where_nothing_is_to_pad():
    batch = np.zeros((1, 8, 4, 1), np.float32)
    assert pad_to_multiple(batch, 4) is batch
    assert pad_to_multiple(batch, 3).shape == (1, 9, 6, 1)


@pytest.mark.parametrize("length", range(1, 70))
def test_windows_cover_every_pixel(length):
    starts = window_starts(length, 28)
    assert starts[0] == 0
    assert starts[-1] + 28 >= length
    assert all(later - earlier == 14 for earlier, later in itertools.pairwise(starts))


def test_two_windows_that_overlap_by_half_weigh_one():
    weights = bump(28)
    np.testing.assert_allclose(weights[:14] + weights[14:], 1, atol=1e-6)
    assert weights.min() > 0


def test_a_window_that_is_wrong_at_its_edges_leaves_no_seam():
    """Each window adds an offset of its own; between neighboring pixels the blended result may step by little."""
    offsets = iter(np.random.default_rng(0).random(10_000).astype(np.float32))

    def shift(windows: np.ndarray) -> np.ndarray:
        return windows + np.array([next(offsets) for _ in windows])[:, None, None, None]

    strips: list[np.ndarray] = []
    images = np.zeros((1, 100, 90, 1), np.float32)
    for pixels, place in cut_patches(images, (28, 28), lambda _, strip: strips.append(strip)):
        place(shift(pixels))
    result = np.concatenate(strips, axis=1)[0, ..., 0]
    assert result.std() > 0.05
    # The steepest slope of the bump is pi / 28 per pixel.
    assert max(np.abs(np.diff(result, axis=axis)).max() for axis in (0, 1)) < 1.2 * np.pi / 28


def test_batches_are_cut_by_number_and_by_size():
    assert [len(window) for window in windows(range(7), lambda _: 1, 3)] == [3, 3, 1]
    assert [len(window) for window in windows(range(300), lambda _: 1)] == [256, 44]
    assert [len(window) for window in windows(range(3), lambda _: 2**20)] == [1, 1, 1]
    assert list(windows([], lambda _: 1)) == []


@pytest.mark.parametrize("value", ["x.png", b"x.png", ["a.png", "b.png"], Path("x.png"), None, np.array("x.png")])
def test_a_name_is_not_an_image(value):
    with pytest.raises(InputError, match=r"must be an array of uint8.*Read files with dae_runtime\.images\.read_image"):
        as_image(value)


def test_rows_of_several_lengths_are_not_an_image():
    with pytest.raises(InputError, match=r"must be an array.*received list.*equal length"):
        as_image([[1, 2], [3]])
