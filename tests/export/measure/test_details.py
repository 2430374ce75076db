"""Details of a comparison: the right pieces, as copies."""

from __future__ import annotations

import numpy as np
import pytest

from dae_export.measure.details import CROP_PX, LARGEST_SIDE_PX, WORST_PIXELS, DetailsCollector, crop_around, for_display


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


@pytest.mark.parametrize("at", [(0, 0), (49, 79), (20, 40), (49, 0)])
@pytest.mark.parametrize("size", [(50, 80), (50, 20), (8, 9)])
def test_a_crop_shows_its_pixel(at, size):
    row, column = min(at[0], size[0] - 1), min(at[1], size[1] - 1)
    image = np.arange(size[0] * size[1], dtype=np.float32).reshape(1, *size, 1)
    crop, crop_row, crop_column = crop_around({"noisy": image}, row, column)
    assert crop["noisy"][0, crop_row, crop_column, 0] == image[0, row, column, 0]
    assert crop["noisy"].shape[1:3] == (min(size[0], CROP_PX), min(size[1], CROP_PX))


def test_nothing_that_is_kept_is_a_view_of_a_batch():
    batch = np.random.default_rng(0).random((20, 28, 28, 1), np.float32)
    seen = DetailsCollector("noise")
    for _ in range(2):
        seen.add({"noisy": batch, "fp32": batch, "file": batch[::-1], "clean": batch})
    details = seen.details()
    assert (details.source, details.ssim_samples, len(details.worst)) == ("noise", 40, WORST_PIXELS)
    kept = [image for stack in (*details.shown, *(worst.crop for worst in details.worst)) for image in stack.values()]
    assert not any(np.shares_memory(image, batch) for image in kept)
    assert [worst.difference for worst in details.worst] == sorted((w.difference for w in details.worst), reverse=True)
