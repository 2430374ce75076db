from __future__ import annotations

import numpy as np
import pytest

from dae_runtime import InputError
from dae_runtime.pixels.noise_level import expected_sigma, noise_sigma

SIGMAS = (0, 2, 5, 10, 25, 40)


def scene(height=240, width=320):
    """Slopes, edges and a textured corner, from 0.2 to 0.8."""
    y, x = np.mgrid[:height, :width]
    image = 0.4 + 0.2 * x / width + 0.1 * np.sin(y / 17)
    image[60:140, 80:200] += 0.15
    image[: height // 4, : width // 4] += 0.05 * np.sin(x + 2 * y)[: height // 4, : width // 4]
    return image.astype(np.float32)


def with_noise(image, sigma, seed=0, dtype=np.float32):
    noisy = image + sigma / 255 * np.random.default_rng(seed).standard_normal(image.shape)
    if dtype == np.float32:
        return noisy.astype(np.float32)
    white = np.iinfo(dtype).max
    return np.clip(np.rint(noisy * white), 0, white).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("sigma", SIGMAS)
def test_noise_of_known_strength_is_found(sigma, dtype):
    estimate = 255 * noise_sigma(with_noise(scene(), sigma, dtype=dtype))
    assert estimate == pytest.approx(sigma, rel=0.05, abs=0.5)


def test_colors_count_alike_and_alpha_does_not():
    gray = scene()
    color = np.stack([with_noise(gray, 10, seed) for seed in range(3)], axis=-1)
    assert 255 * noise_sigma(color) == pytest.approx(10, rel=0.05)
    alpha = np.random.default_rng(9).random((*gray.shape, 1), np.float32)
    assert noise_sigma(np.concatenate([color, alpha], axis=-1)) == noise_sigma(color)


def test_edges_and_texture_hardly_count():
    board = ((np.indices((256, 256)) // 32).sum(axis=0) % 2 * 0.6 + 0.2).astype(np.float32)
    assert 255 * noise_sigma(with_noise(board, 10)) == pytest.approx(10, rel=0.35)
    assert noise_sigma(board) < 0.01


@pytest.mark.parametrize("sigma", [0.05, 0.2, 0.5])
def test_the_expected_estimate_knows_of_clipping(sigma):
    """On a black ground half of the noise is clipped away, and the plain estimate falls short."""
    black = np.zeros((200, 200), np.float32)
    noisy = np.clip(black + sigma * np.random.default_rng(5).standard_normal(black.shape), 0, 1).astype(np.float32)
    assert noise_sigma(noisy) < 0.8 * sigma
    assert expected_sigma(black, sigma) == pytest.approx(noise_sigma(noisy), rel=0.05)


@pytest.mark.parametrize("shape", [(2, 9), (9, 2), (1, 9, 9, 1)])
def test_what_is_too_small_is_refused(shape):
    with pytest.raises(InputError, match="3 x 3"):
        noise_sigma(np.zeros(shape, np.float32))
