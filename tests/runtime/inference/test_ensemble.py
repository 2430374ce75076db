"""The self-ensemble: the mean over flips and turns, whatever the image is cut into."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import make_model, random_pixels
from dae_runtime import CancelledError, Denoiser, FolderRequest, InputError

FLIPS = [lambda x: x, lambda x: x[::-1, ::-1], lambda x: x[::-1], lambda x: x[:, ::-1]]


@pytest.fixture(scope="module")
def photo():
    with Denoiser("photo", "cpu", 1) as denoiser:
        yield denoiser


@pytest.fixture(scope="module")
def tiles():
    with Denoiser("photo", "cpu", 1, tile_px=192) as denoiser:
        yield denoiser


def by_hand(denoiser: Denoiser, image: np.ndarray, count: int, **controls: float) -> np.ndarray:
    """The mean over an image whose sides are multiples of the alignment, in float64."""
    results = [flip(denoiser.denoise(np.ascontiguousarray(flip(image)), **controls)) for flip in FLIPS]
    for flip in FLIPS:
        turned = np.ascontiguousarray(flip(image.swapaxes(0, 1)))
        results.append(flip(denoiser.denoise(turned, **controls)).swapaxes(0, 1))
    return np.mean(results[:count], axis=0, dtype=np.float64)


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_it_is_the_mean_of_the_results_for_flipped_and_turned_images(photo, count):
    image = random_pixels((40, 64, 3), np.float32, seed=count)
    received = photo.denoise(image, sigma=0.03, ensemble=count)
    np.testing.assert_allclose(received, by_hand(photo, image, count, sigma=0.03), atol=2e-7)
    alone = photo.denoise(image, sigma=0.03)
    assert np.array_equal(received, alone) == (count == 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_integers_are_rounded_once(photo, dtype):
    image = random_pixels((24, 32, 3), dtype, seed=1)
    top = np.iinfo(dtype).max
    expected = by_hand(photo, (image / np.float32(top)).astype(np.float32), 8, sigma=0.03) * top
    assert np.abs(photo.denoise(image, sigma=0.03, ensemble=8) - expected).max() <= 0.5 + 1e-6 * top


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 260), st.integers(1, 300), st.sampled_from([2, 4, 8]), st.sampled_from([1, 2, 3, 4]))
def test_tiles_and_batches_change_nothing(photo, tiles, height, width, count, channels):
    image = random_pixels((height, width, channels), seed=height + width)
    expected = photo.denoise(image, sigma=0.04, ensemble=count)
    np.testing.assert_array_equal(tiles.denoise(image, sigma=0.04, ensemble=count), expected)
    other = random_pixels(image.shape, seed=7)
    together = photo.denoise(np.stack([other, image]), sigma=0.04, ensemble=count)
    np.testing.assert_array_equal(together[1], expected)
    np.testing.assert_array_equal(next(photo.stream([image], sigma=0.04, ensemble=count)), expected)


def test_the_level_is_that_of_the_image_as_it_is(photo):
    image = random_pixels((96, 96, 3), seed=4)
    level = photo.advise(image)
    np.testing.assert_array_equal(photo.denoise(image, ensemble=4), photo.denoise(image, ensemble=4, sigma=level))


def test_models_with_edges_of_8_bits_and_of_a_fixed_size_take_it():
    with Denoiser("mnist-v2", "cpu", 1) as small:
        image = random_pixels((28, 28), np.float32, seed=2)
        np.testing.assert_allclose(small.denoise(image, ensemble=8), by_hand(small, image, 8), atol=2e-7)
    with Denoiser(make_model(io_dtype="uint8"), "cpu", 1) as edges:
        image = random_pixels((32, 48), seed=3)
        result = edges.denoise(image, ensemble=8)
        assert result.dtype == np.uint8
        assert np.abs(result - by_hand(edges, image, 8)).max() <= 0.5


def test_a_size_that_cannot_be_turned_is_refused_with_what_can():
    with Denoiser(make_model(size=(16, 24)), "cpu", 1) as denoiser:
        image = random_pixels((16, 24), seed=5)
        assert denoiser.denoise(image, ensemble=4).shape == (16, 24)
        with pytest.raises(InputError, match=r"ensemble must be at most 4 for the model .* 16 x 24"):
            denoiser.denoise(image, ensemble=8)


@pytest.mark.parametrize("value", [0, 3, 16, -1, "8", True, 2.0, None])
def test_other_numbers_are_refused(photo, value):
    with pytest.raises(InputError, match="ensemble must be 1, 2, 4 or 8, not"):
        photo.denoise(np.zeros((8, 8, 3), np.uint8), ensemble=value)
    with pytest.raises(InputError, match="ensemble must be 1, 2, 4 or 8, not"):
        FolderRequest("in", "out", ensemble=value)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_gray_images_and_alpha_take_it(channels):
    with Denoiser(device="cpu", threads=1) as denoiser:
        image = random_pixels((24, 32, channels), np.float32, seed=channels)
        received = denoiser.denoise(image, sigma=0.03, ensemble=8)
        np.testing.assert_allclose(received, by_hand(denoiser, image, 8, sigma=0.03), atol=1e-6)
        if channels != 1:
            np.testing.assert_array_equal(received[..., -1], image[..., -1])


def test_each_run_asks_whether_to_go_on(photo):
    asked = []

    def after_three() -> bool:
        asked.append(1)
        return len(asked) > 3

    with pytest.raises(CancelledError):
        photo.denoise(random_pixels((16, 16, 3), seed=6), sigma=0.03, ensemble=8, cancel=after_three)
    assert len(asked) == 4
