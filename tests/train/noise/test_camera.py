"""Noise of cameras: what demosaicing keeps, how levels grow, and how neighbors are correlated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from keras import ops, random

from dae_train.noise.camera import camera
from dae_train.noise.camera_steps import bend, decode_srgb, encode_srgb, left_by_denoiser, resampled
from dae_train.noise.demosaic import bayer, developed_noise, edge_aware, interpolated

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
METHODS = ("bilinear", "malvar", "edge-aware")


def noise_of(
    iso: float,
    value: float = 0.4,
    channels: int = 3,
    seed: int = 1,
    count: int = 48,
    blur: float = 0.7,
    color: float = 0.6,
) -> np.ndarray:
    """Return what the camera adds to gray images of one value, (N, 64, 64, C)."""
    clean = np.full((count, 64, 64, channels), value, np.float32)
    amounts = (ops.full((count, 1, 1, 1), amount) for amount in (iso, blur, color))
    noisy = camera(ops.convert_to_tensor(clean), *amounts, random.SeedGenerator(seed))
    return np.asarray(noisy) - clean


def correlation(planes: np.ndarray, distance: int) -> float:
    """Return the correlation of pixels so far apart in a row, the median over (N, H, W) planes that are not even."""
    planes = planes[planes.std(axis=(1, 2)) > 0]
    centered = planes - planes.mean(axis=(1, 2), keepdims=True)
    products = (centered[:, :, distance:] * centered[:, :, :-distance]).mean(axis=(1, 2))
    return float(np.median(products / centered.var(axis=(1, 2))))


def test_levels_grow_with_the_sensitivity() -> None:
    levels = [float(np.median(noise_of(iso).std(axis=(1, 2, 3)))) * 255 for iso in (200, 800, 3200, 12_800)]
    assert levels == sorted(levels)
    assert 0.05 < levels[0] < 2  # flat pictures: most of it is rounded away
    assert 1.5 < levels[3] < 20


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
    assert np.median(gray.std(axis=(1, 2, 3))) == pytest.approx(float(np.median(color.std(axis=(1, 2)))), rel=0.4)


def test_the_result_is_in_steps_of_8_bits_and_in_range() -> None:
    for value in (0.0, 0.02, 1.0):
        noisy = noise_of(12_800, value, count=4) + np.float32(value)
        assert noisy.min() >= 0
        assert noisy.max() <= 1
        np.testing.assert_allclose(noisy * 255, np.rint(noisy * 255), atol=1e-3)


def test_a_seed_decides_the_noise() -> None:
    np.testing.assert_array_equal(noise_of(800, count=4, seed=5), noise_of(800, count=4, seed=5))
    assert not np.array_equal(noise_of(800, count=4, seed=5), noise_of(800, count=4, seed=6))


def developed(mosaic: np.ndarray, sites: Any, method: str) -> np.ndarray:
    """Return a mosaic, (N, H, W, 1), demosaiced."""
    if method == "edge-aware":
        return np.asarray(edge_aware(ops.convert_to_tensor(mosaic), sites))
    return np.asarray(
        interpolated(ops.convert_to_tensor(mosaic), sites, ops.full((len(mosaic), 1, 1, 1), method == "bilinear"))
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(6, 7), (16, 16)])
def test_demosaicing_keeps_every_flat_color_in_every_pattern(method: str, shape: tuple[int, int]) -> None:
    color = np.array([0.2, 0.5, 0.9], np.float32)
    sites = bayer(64, *shape, random.SeedGenerator(0))
    assert {tuple(np.asarray(s)[:2, :2].argmax(-1).ravel()) for s in sites} == {
        (0, 1, 1, 2),
        (1, 0, 2, 1),
        (1, 2, 0, 1),
        (2, 1, 1, 0),
    }
    found = developed(np.sum(np.asarray(sites) * color, axis=-1, keepdims=True), sites, method)
    np.testing.assert_allclose(found, np.broadcast_to(color, found.shape), atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_mosaic_keeps_the_values_that_it_has(method: str) -> None:
    sites = bayer(4, 12, 12, random.SeedGenerator(0))
    mosaic = np.random.default_rng(0).normal(size=(4, 12, 12, 1)).astype(np.float32)
    found = developed(mosaic, sites, method)
    np.testing.assert_allclose((found * np.asarray(sites)).sum(-1, keepdims=True), mosaic, atol=1e-6)


def test_green_follows_an_edge() -> None:
    """Where rows are constant, those of a gray picture come back exactly; a linear method mixes them."""
    gray = np.repeat(np.array([0.1, 0.9, 0.1, 0.1, 0.8, 0.8, 0.1, 0.5] * 2, np.float32), 16).reshape(1, 16, 16, 1)
    sites = bayer(1, 16, 16, random.SeedGenerator(0))
    found = developed(gray, sites, "edge-aware")[..., 1:2]
    np.testing.assert_allclose(found[:, 2:-2], gray[:, 2:-2], atol=1e-6)  # a border is its own mirror image: no edge there
    assert np.abs(developed(gray, sites, "malvar")[..., 1:2] - gray).max() > 0.1


def test_noise_of_a_picture_is_the_difference_that_it_makes() -> None:
    rng = np.random.default_rng(0)
    scene, noise = (rng.random((3, 12, 12, 1), np.float32) * scale for scale in (1, 0.2))
    sites = bayer(3, 12, 12, random.SeedGenerator(0))
    found = np.asarray(developed_noise(noise, scene, sites, np.reshape([0.1, 0.5, 0.9], (3, 1, 1, 1)).astype(np.float32)))
    for number, method in enumerate(METHODS):
        expected = developed(scene + noise, sites, method) - developed(scene, sites, method)
        np.testing.assert_allclose(found[number], expected[number], atol=1e-5)


def test_encoding_and_decoding_are_inverse_and_fixed_at_the_ends() -> None:
    values = np.linspace(0, 1, 101, dtype=np.float32)
    np.testing.assert_allclose(encode_srgb(decode_srgb(values)), values, atol=2e-4)
    assert float(decode_srgb(np.float32(0.5))) == pytest.approx(0.21404, abs=1e-4)  # IEC 61966-2-1


@pytest.mark.parametrize("slope", [0.5, 1.0, 1.7])
def test_a_tone_curve_is_undone_by_its_inverse(slope: float) -> None:
    values = np.linspace(0, 1, 101, dtype=np.float32).reshape(1, 101, 1, 1)
    slopes = np.full((1, 1, 1, 1), slope, np.float32)
    bent = np.asarray(bend(values, slopes))
    np.testing.assert_allclose(bend(bent, 1 / slopes), values, atol=1e-5)
    assert bent[0, [0, 50, 100], 0, 0] == pytest.approx([0, 0.5, 1])
    assert (bent[0, 51, 0, 0] - bent[0, 49, 0, 0]) / 0.02 == pytest.approx(slope, rel=0.03)


def test_resampling_keeps_what_is_flat_and_averages_noise() -> None:
    noise = np.random.default_rng(0).normal(size=(2, 96, 96, 1)).astype(np.float32)
    steps = np.reshape([1.0, 2.0], (2, 1, 1, 1)).astype(np.float32)
    same, half = np.asarray(resampled(ops.convert_to_tensor(noise), (48, 48), steps))
    np.testing.assert_allclose(same, noise[0, :48, :48], atol=1e-6)
    assert half.std() == pytest.approx(0.5, abs=0.2)
    flat = resampled(np.ones((1, 9, 7, 3), np.float32), (12, 10), np.full((1, 1, 1, 1), 0.75, np.float32))
    np.testing.assert_allclose(flat, 1, atol=1e-6)


def test_blur_and_color_do_what_they_say() -> None:
    sharp, soft = (correlation(noise_of(6400, blur=blur) @ LUMA, 1) for blur in (0.2, 1.4))
    assert soft > sharp + 0.15
    noises = [noise_of(6400, color=color) for color in (0.3, 1.2)]
    ratios = [np.median((noise - (noise @ LUMA)[..., None]).std((1, 2, 3)) / (noise @ LUMA).std((1, 2))) for noise in noises]
    assert 0.1 < ratios[0] < 0.5
    assert ratios[1] > 2 * ratios[0]


def test_a_denoiser_leaves_more_where_more_goes_on() -> None:
    picture = np.full((1, 64, 64, 3), 0.5, np.float32)
    picture[:, :, 32:, :] += np.where(np.indices((64, 32)).sum(0) // 2 % 2, 0.2, -0.2)[None, :, :, None].astype(np.float32)
    left = np.asarray(left_by_denoiser(picture, *(np.full((1, 1, 1, 1), value, np.float32) for value in (0.2, 0.02))))
    assert left.shape == (1, 64, 64, 1)
    np.testing.assert_allclose(left[:, :, :20], 0.2, atol=0.01)
    assert left[:, :, 44:].min() > 0.5
