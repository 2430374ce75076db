from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import make_model, random_pixels
from dae_runtime import Denoiser, InputError
from dae_runtime.models import bundled_models
from dae_runtime.pixels.storage import PLAIN, Stored, stored_as


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("alpha", [False, True])
def test_gray_stored_as_rgb_is_denoised_as_the_gray_image_that_it_is(blur: Denoiser, dtype, alpha):
    gray = random_pixels((13, 18, 1), dtype)
    extra = [random_pixels((13, 18, 1), dtype, seed=1)] if alpha else []
    stored = np.concatenate([gray, gray, gray, *extra], axis=2)
    with Denoiser(make_model(channels=3), "cpu", 1) as color:
        for denoiser in (blur, color):
            clean = denoiser.denoise(stored)
            assert (clean.shape, clean.dtype) == (stored.shape, stored.dtype)
            expected = denoiser.denoise(np.concatenate([gray, *extra], axis=2))
            for channel in range(3):
                np.testing.assert_array_equal(clean[..., channel], expected[..., 0])
            np.testing.assert_array_equal(clean[..., 3:], stored[..., 3:])


def test_the_default_takes_the_gray_model_for_gray_stored_as_rgb():
    stored = np.repeat(random_pixels((24, 24, 1)), 3, axis=2)
    with Denoiser(device="cpu", threads=1) as default, Denoiser(bundled_models()["gray"], "cpu", 1) as gray:
        np.testing.assert_array_equal(default.denoise(stored)[..., 1], gray.denoise(stored[..., 0]))
        assert default.model.channels == 1


def test_one_pixel_of_color_makes_a_color_image():
    image = np.full((300, 200, 3), 7, np.uint8)
    assert stored_as(image, None) == Stored(is_gray=True)
    image[217, 3, 2] = 8
    assert stored_as(image, None) == PLAIN


def test_each_image_of_a_batch_comes_out_as_alone():
    gray, color = np.repeat(random_pixels((8, 12, 1), np.uint16), 3, axis=2), random_pixels((8, 12, 3), np.uint16, seed=1)
    twelve = color // 16
    twelve[0, 0] = 4095
    batch = np.stack([color, gray, twelve])
    with Denoiser(make_model(channels=3), "cpu", 1) as denoiser:
        for image, clean in zip(batch, denoiser.denoise(batch), strict=True):
            np.testing.assert_array_equal(clean, denoiser.denoise(image))


@given(st.integers(9, 16), st.integers(0, 9))
def test_fewer_bits_are_scaled_to_16_and_back_without_loss(bits, seed):
    image = random_pixels((1, 6, 5, 4), np.uint16, seed=seed)
    image[..., :3] >>= 16 - bits
    form = stored_as(image[0], bits)
    opened = form.opened(image)
    np.testing.assert_array_equal(opened[..., 3], image[..., 3])
    np.testing.assert_allclose(opened[..., :3] / 65535, image[..., :3] / (2**bits - 1), atol=0.5001 / 65535)
    np.testing.assert_array_equal(form.closed(opened, 4), image)


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_bits_are_recognized_where_white_is_there_and_only_then(bits):
    image = random_pixels((9, 9, 1), np.uint16) >> (16 - bits)
    image[0, 0] = 2**bits - 1
    assert stored_as(image, None).white == 2**bits - 1
    for largest in (2**bits - 2, 2**bits):
        image[0, 0] = largest
        np.minimum(image, largest, out=image)
        assert stored_as(image, None) == PLAIN
    assert stored_as((image // 2**8).astype(np.uint8), None) == PLAIN


def test_12_bits_in_16_are_denoised_as_on_their_own_scale(blur: Denoiser):
    image = random_pixels((16, 16), np.uint16) >> 4
    image[0, 0] = 4095
    expected = blur.denoise(image.astype(np.float32) / 4095) * 4095
    np.testing.assert_allclose(blur.denoise(image), expected, atol=0.6)
    np.testing.assert_array_equal(blur.denoise(image, bits=12), blur.denoise(image))
    np.testing.assert_array_equal(blur.denoise(image, strength=0), image)


def test_a_value_beyond_the_bits_is_refused(blur: Denoiser):
    with pytest.raises(InputError, match="bits must be at least 13 for an image with the value 5000, not 12"):
        blur.denoise(np.full((4, 4), 5000, np.uint16), bits=12)
