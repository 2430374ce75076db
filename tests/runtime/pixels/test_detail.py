from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import random_pixels
from dae_runtime.pixels import arrays
from dae_runtime.pixels.detail import put_back


def residual_of(noise: np.ndarray, structure: np.ndarray, amount: float) -> np.ndarray:
    """Return what comes back of a residual that a model took from a gray picture of 0.5."""
    noisy = (0.5 + noise + structure).astype(np.float32)[..., None]
    clean = np.full_like(noisy, 0.5)
    put_back(noisy, clean, amount)
    return clean[..., 0] - 0.5


def smooth_noise(shape: tuple[int, int], seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 0.04, shape)
    return (noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1) + np.roll(noise, (1, 1), (0, 1))) / 2


@pytest.mark.parametrize(
    "noise", [lambda shape: np.random.default_rng(0).normal(0, 0.04, shape), lambda s: smooth_noise(s, 0)]
)
def test_lines_come_back_and_noise_does_not_whatever_its_correlation(noise):
    shape = (200, 240)
    lines = np.zeros(shape)
    lines[::20] = 0.3
    back = residual_of(noise(shape), lines, 1.0)
    assert back[::20].mean() > 0.1
    flat = residual_of(noise(shape), np.zeros(shape), 1.0)
    assert flat.std() < 0.1 * 0.04


def test_half_the_amount_is_half_the_change():
    lines = np.zeros((64, 64))
    lines[:, ::8] = 0.2
    whole, half = (residual_of(smooth_noise((64, 64), 1), lines, amount) for amount in (1.0, 0.5))
    np.testing.assert_allclose(half, whole / 2, atol=1e-6)


def test_strips_come_out_as_one_piece(monkeypatch):
    noisy, clean = (random_pixels((150, 40, 3), seed=seed) for seed in range(2))
    results = []
    for rows in (1000, 150, 37, 14):
        monkeypatch.setattr(arrays, "STRIP_ROWS", rows)
        results.append(clean.copy())
        put_back(noisy, results[-1], 0.7)
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]), st.sampled_from([np.uint8, np.uint16, np.float32]))
def test_any_size_and_dtype(height, width, channels, dtype):
    noisy, clean = (random_pixels((height, width, channels), dtype, seed=seed) for seed in range(2))
    before, result = noisy.copy(), clean.copy()
    put_back(noisy, result, 1.0)
    np.testing.assert_array_equal(noisy, before)
    white = 1 if dtype == np.float32 else np.iinfo(dtype).max
    assert result.min() >= 0
    assert result.max() <= white
    untouched = clean.copy()
    put_back(clean, untouched, 1.0)  # nothing was taken away
    np.testing.assert_array_equal(untouched, clean)
