from __future__ import annotations

import numpy as np
import pytest

from dae_runtime.pixels.common_noise import (
    FLAT_QUANTILE,
    _block_squares,
    _flat_noise,
    add_luma_change,
    has_common_noise,
    luma_plane,
)

Y, X = np.mgrid[:128, :128]
CLEAN = np.stack([128 + 50 * np.sin(X / 13 + k) * np.cos(Y / 17 + 2 * k) for k in range(3)], axis=2)


def with_noise(sigma, share, dtype=np.uint8):
    """Return the picture with noise of which a share, in amplitude, is equal in all channels."""
    rng = np.random.default_rng(0)
    noise = share * rng.normal(0, sigma, (128, 128, 1)) + (1 - share**2) ** 0.5 * rng.normal(0, sigma, (128, 128, 3))
    scale = {np.uint8: 1, np.uint16: 257, np.float32: 1 / 255}[dtype]
    values = np.clip(CLEAN + noise, 0, 255) * scale
    return values.astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize(("share", "found"), [(0, False), (0.5, False), (0.8, True), (1, True)])
def test_noise_that_is_equal_in_all_channels_is_told_from_other(dtype, share, found):
    assert has_common_noise(with_noise(15, share, dtype)) is found


@pytest.mark.parametrize("shape", [(1, 1, 3), (9, 200, 3), (10, 10, 3), (64, 64, 3), (300, 75, 4)])
def test_images_of_any_size_are_looked_at(shape):
    assert has_common_noise(np.zeros(shape, np.uint8)) is False


def test_texture_that_is_alike_in_all_channels_is_no_noise():
    stripes = np.where(X % 16 < 4, 90, 160)[..., None] + np.array([0, 20, -20])
    assert has_common_noise(stripes.astype(np.uint8)) is False


@pytest.mark.parametrize("count", [1, 2, 9, 11, 1024])
def test_flat_noise_is_a_quantile(count):
    squares = np.random.default_rng(count).random(count, np.float32)
    assert _flat_noise(squares) == pytest.approx(np.quantile(squares, FLAT_QUANTILE) ** 0.5, rel=1e-6)


@pytest.mark.parametrize("shape", [(1, 9, 9), (16, 65, 65), (1, 17, 9), (4, 9, 65)])
def test_each_block_has_its_mean_square(shape):
    planes = np.random.default_rng(0).random(shape, np.float32)
    detail = (planes[:, 1:, 1:] + planes[:, :-1, :-1] - planes[:, 1:, :-1] - planes[:, :-1, 1:]) / 2
    blocks = detail.reshape(shape[0], shape[1] // 8, 8, shape[2] // 8, 8)
    np.testing.assert_allclose(_block_squares(planes), np.square(blocks).mean(axis=(2, 4)).ravel(), rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_change_of_brightness_goes_to_every_channel_and_not_to_alpha(dtype):
    image = np.concatenate([with_noise(5, 0, dtype), with_noise(5, 0, dtype)[..., :1]], axis=2)[None]
    before = luma_plane(image)
    assert before.dtype == dtype
    step = dtype(3)
    after = (before + step).astype(dtype)
    changed = image.copy()
    add_luma_change(changed, after)
    room = image[..., :3].astype(np.float64) + float(step) <= {np.uint8: 255, np.uint16: 65535, np.float32: 100}[dtype]
    difference = changed[..., :3].astype(np.float64) - image[..., :3]
    np.testing.assert_allclose(difference[room], float(step), atol=1e-5)
    np.testing.assert_array_equal(changed[..., 3], image[..., 3])
