from __future__ import annotations

import logging
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import random_pixels
from dae_runtime import Denoiser, FolderRequest, InputError
from dae_runtime.inference.controls import Controls, Shares, as_levels
from dae_runtime.pixels.arrays import LUMA, blend

SHARES = ("strength", "luma", "color", "detail")
WRONG = st.one_of(
    st.floats(max_value=-1e-9),
    st.floats(min_value=1, exclude_min=True),
    st.just(math.nan),
    st.sampled_from(["0.5", b"1", [0.5], 1j]),
)
UNIT = st.floats(0, 1, width=32)


@given(st.sampled_from([*SHARES, "sigma"]), WRONG)
def test_a_wrong_number_is_one_error_that_names_the_argument(name, value):
    for use in (Controls, lambda **wrong: FolderRequest("in", "out", **wrong)):
        with pytest.raises(InputError, match=f"^{name} must be a number from 0 to 1"):
            use(**{name: value})


@pytest.mark.parametrize("bits", [8, 17, 12.0, "12", True])
def test_wrong_bits_are_refused(bits):
    with pytest.raises(InputError, match="bits must be a whole number from 9 to 16"):
        Controls(bits=bits)


def test_the_denoiser_checks_its_arguments(identity: Denoiser):
    for name in (*SHARES, "sigma"):
        with pytest.raises(InputError, match=f"{name} must be a number from 0 to 1"):
            identity.denoise(np.zeros((4, 4), np.uint8), **{name: 1.5})
        with pytest.raises(InputError, match=f"{name} must be a number from 0 to 1"):
            identity.stream([], **{name: float("nan")})
    with pytest.raises(InputError, match="bits must be"):
        identity.denoise(np.zeros((4, 4), np.uint16), bits=8)


@given(UNIT, UNIT, UNIT)
def test_strength_multiplies_both_shares(strength, luma, color):
    shares = Controls(strength=strength, luma=luma, color=color).shares
    assert shares == Shares(strength * luma, strength * color)


@given(UNIT, UNIT, st.integers(0, 5))
def test_luma_scales_the_change_of_brightness_and_color_that_of_color(luma, color, seed):
    noisy, clean = (random_pixels((5, 7, 3), np.float32, seed=seed + number) for number in range(2))
    before, change = blend(noisy, clean, luma, color) - noisy, clean - noisy
    weights = np.array(LUMA, np.float64)
    np.testing.assert_allclose(before @ weights, luma * (change @ weights), atol=2e-6)
    of_color = change - (change @ weights)[..., None]
    np.testing.assert_allclose(before - (before @ weights)[..., None], color * of_color, atol=2e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_shares_of_1_are_the_models_result_and_of_0_the_input(dtype):
    noisy, clean = (random_pixels((2, 5, 7, 3), dtype, seed=seed) for seed in range(2))
    np.testing.assert_array_equal(blend(noisy, clean, 1, 1), clean)
    np.testing.assert_array_equal(blend(noisy, clean, 0, 0), noisy)
    gray, clean_gray = noisy[..., :1], clean[..., :1]
    np.testing.assert_array_equal(blend(gray, clean_gray, 1, 0.3), clean_gray)
    np.testing.assert_array_equal(blend(gray, clean_gray, 0.5, 0.3), blend(gray, clean_gray, 0.5, 0.5))


def test_color_has_no_effect_on_gray_images(blur: Denoiser):
    for shape in ((9, 12), (9, 12, 2)):
        image = random_pixels(shape)
        np.testing.assert_array_equal(blur.denoise(image, color=0), blur.denoise(image))


def test_levels_of_a_batch():
    np.testing.assert_array_equal(as_levels(0.25, 3), np.float32([0.25] * 3))
    np.testing.assert_array_equal(as_levels(np.float32([0, 1]), 2), np.float32([0, 1]))
    np.testing.assert_array_equal(as_levels([0.5], 1), np.float32([0.5]))
    for wrong in ([0.5], [0.1, 0.2, 0.3]):
        with pytest.raises(InputError, match=f"one for each of the 2 images; received {len(wrong)}"):
            as_levels(wrong, 2)


@pytest.mark.parametrize("alike", [False, True])
def test_gray_images_for_a_model_of_colors_are_told_once(caplog, alike):
    gray = random_pixels((24, 24))
    with Denoiser("color", "cpu", 1) as denoiser, caplog.at_level(logging.WARNING, "dae_runtime"):
        denoiser.denoise(random_pixels((24, 24, 3)))
        assert not caplog.records
        for _ in range(2):
            denoiser.denoise(np.repeat(gray[..., None], 3, 2) if alike else gray)
    assert [record.getMessage().partition(".")[0] for record in caplog.records] == [
        "the model color is made for color images and may remove little noise from gray ones"
    ]
