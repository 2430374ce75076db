"""Noise of cameras: what demosaicing keeps, how levels grow, and how neighbors are correlated."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops, random

from dae_train.noise.camera import _bayer, _demosaiced, camera, decode_srgb, encode_srgb

LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def noise_of(iso: float, value: float = 0.4, channels: int = 3, seed: int = 1, count: int = 48) -> np.ndarray:
    """Return what the camera adds to gray images of one value, (N, 64, 64, C)."""
    clean = np.full((count, 64, 64, channels), value, np.float32)
    noisy = camera(ops.convert_to_tensor(clean), ops.full((count, 1, 1, 1), iso), random.SeedGenerator(seed))
    return np.asarray(noisy) - clean


def correlation(planes: np.ndarray, distance: int) -> float:
    """Return the correlation of pixels so far apart in a row, the median over (N, H, W) planes."""
    centered = planes - planes.mean(axis=(1, 2), keepdims=True)
    products = (centered[:, :, distance:] * centered[:, :, :-distance]).mean(axis=(1, 2))
    return float(np.median(products / centered.var(axis=(1, 2))))


def test_levels_grow_with_the_sensitivity() -> None:
    levels = [float(np.median(noise_of(iso).std(axis=(1, 2, 3)))) * 255 for iso in (200, 800, 3200, 12_800)]
    assert levels == sorted(levels)
    assert 0.3 < levels[0] < 4
    assert 4 < levels[3] < 20


def test_noise_is_correlated_and_that_of_color_is_coarser() -> None:
    noise = noise_of(3200)
    luma = noise @ LUMA
    chroma = noise[..., 2] - luma
    assert 0.3 < correlation(luma, 1) < 0.75
    assert correlation(luma, 3) < 0.2
    assert correlation(chroma, 1) > correlation(luma, 1)
    assert correlation(chroma, 3) > 0.1


def test_the_picture_keeps_its_colors() -> None:
    noise = noise_of(1600, count=64)
    assert np.abs(noise.mean(axis=(0, 1, 2))).max() * 255 < 0.3


def test_a_gray_image_gets_the_noise_of_brightness() -> None:
    gray, color = noise_of(3200, channels=1), noise_of(3200) @ LUMA
    assert gray.shape == (48, 64, 64, 1)
    assert np.median(gray.std(axis=(1, 2, 3))) == pytest.approx(float(np.median(color.std(axis=(1, 2)))), rel=0.3)


def test_the_result_is_in_steps_of_8_bits_and_in_range() -> None:
    for value in (0.0, 0.02, 1.0):
        noisy = noise_of(12_800, value, count=4) + np.float32(value)
        assert noisy.min() >= 0
        assert noisy.max() <= 1
        np.testing.assert_allclose(noisy * 255, np.rint(noisy * 255), atol=1e-3)


def test_a_seed_decides_the_noise() -> None:
    np.testing.assert_array_equal(noise_of(800, count=4, seed=5), noise_of(800, count=4, seed=5))
    assert not np.array_equal(noise_of(800, count=4, seed=5), noise_of(800, count=4, seed=6))


@pytest.mark.parametrize("bilinear", [True, False])
@pytest.mark.parametrize("shape", [(6, 7), (16, 16)])
def test_demosaicing_keeps_every_flat_color_in_every_pattern(bilinear: bool, shape: tuple[int, int]) -> None:
    color = np.array([0.2, 0.5, 0.9], np.float32)
    sites = _bayer(64, *shape, random.SeedGenerator(0))
    assert {tuple(np.asarray(s)[:2, :2].argmax(-1).ravel()) for s in sites} == {
        (0, 1, 1, 2),
        (1, 0, 2, 1),
        (1, 2, 0, 1),
        (2, 1, 1, 0),
    }
    mosaic = ops.sum(sites * color, axis=-1, keepdims=True)
    found = np.asarray(_demosaiced(mosaic, sites, ops.full((64, 1, 1, 1), bilinear)))
    np.testing.assert_allclose(found, np.broadcast_to(color, found.shape), atol=1e-6)


def test_a_mosaic_keeps_the_values_that_it_has() -> None:
    rng = np.random.default_rng(0)
    sites = _bayer(4, 12, 12, random.SeedGenerator(0))
    mosaic = rng.normal(size=(4, 12, 12, 1)).astype(np.float32)
    for bilinear in (True, False):
        found = np.asarray(_demosaiced(ops.convert_to_tensor(mosaic), sites, ops.full((4, 1, 1, 1), bilinear)))
        np.testing.assert_allclose((found * np.asarray(sites)).sum(-1, keepdims=True), mosaic, atol=1e-6)


def test_encoding_and_decoding_are_inverse_and_fixed_at_the_ends() -> None:
    values = np.linspace(0, 1, 101, dtype=np.float32)
    np.testing.assert_allclose(encode_srgb(decode_srgb(values)), values, atol=2e-4)
    assert float(decode_srgb(np.float32(0.5))) == pytest.approx(0.21404, abs=1e-4)  # IEC 61966-2-1
