"""The measured noise level: near the truth for white and for smooth noise, low where there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import random_pixels
from dae_runtime.pixels.arrays import convert
from dae_runtime.pixels.level import measure_level
from dae_runtime.pixels.noise_level import noise_sigma
from dae_runtime.pixels.sampling import MOST_WINDOWS, WINDOW_PX, sample_windows


def scene(height: int = 240, width: int = 320, channels: int = 3) -> np.ndarray:
    """Slopes, edges and a textured corner, from 0.2 to 0.8."""
    y, x = np.mgrid[:height, :width]
    image = 0.4 + 0.2 * x / width + 0.1 * np.sin(y / 17)
    image[60:140, 80:200] += 0.15
    image[: height // 4, : width // 4] += 0.05 * np.sin(x + 2 * y)[: height // 4, : width // 4]
    return np.repeat(image[..., None], channels, axis=2).astype(np.float32)


def smooth(noise: np.ndarray) -> np.ndarray:
    """Average 2 x 2 pixels, twice, and bring back the standard deviation: neighbors then correlate by 2 / 3."""
    for _ in range(2):
        noise = noise + np.roll(noise, 1, 0)
        noise = noise + np.roll(noise, 1, 1)
    return noise / 6


def noise_of(kind: str, shape: tuple[int, ...], sigma: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(shape)
    if kind == "white":
        return sigma * noise
    if kind == "smooth":
        return sigma * smooth(noise)
    return sigma * smooth(np.repeat(noise[..., :1], shape[2], axis=2))  # the same in all colors, as cameras' mostly is


@pytest.mark.parametrize("kind", ["white", "smooth", "gray"])
@pytest.mark.parametrize("sigma", [5, 12, 25])
@pytest.mark.parametrize("channels", [1, 3])
def test_noise_of_known_level_is_found_whatever_its_correlation(kind, sigma, channels):
    clean = scene(channels=channels)
    noise = noise_of(kind, clean.shape, sigma / 255)
    noisy = np.clip(clean + noise, 0, 1).astype(np.float32)
    true = 255 * math.sqrt(np.mean(np.square(noise)))
    pixels = convert(noisy, np.uint8)
    if kind == "white":
        assert 255 * measure_level(pixels) == pytest.approx(true, rel=0.3)
    else:  # cameras' noise has coarse blotches too, which are counted though they do not show in small differences
        assert 0.8 * true < 255 * measure_level(pixels) < 1.8 * true
        assert 255 * noise_sigma(pixels) < 0.5 * true


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_8_16_bits_and_floats_read_alike_and_alpha_does_not_count(dtype):
    noisy = (scene() + noise_of("smooth", (240, 320, 3), 8 / 255)).astype(np.float32)
    level = measure_level(convert(noisy, dtype))
    assert measure_level(convert(noisy, np.uint8)) == pytest.approx(level, rel=0.05)
    alpha = random_pixels((240, 320, 1), dtype)
    assert measure_level(np.concatenate([convert(noisy, dtype), alpha], axis=2)) == level


@pytest.mark.parametrize("value", [0, 90, 255])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_flat_image_has_no_noise(value, channels):
    assert measure_level(np.full((100, 100, channels), value, np.uint8)) == 0


def test_a_clean_scene_reads_low_and_more_noise_reads_higher():
    clean = scene()
    levels = [255 * measure_level(convert(clean + noise_of("smooth", clean.shape, s / 255), np.uint8)) for s in (0, 4, 10, 20)]
    assert levels[0] < 2
    assert levels == sorted(levels)


def test_black_and_white_margins_do_not_lower_the_level():
    noisy = np.clip(scene() + noise_of("white", (240, 320, 3), 10 / 255), 0, 1).astype(np.float32)
    page = np.pad(noisy, ((200, 0), (0, 200), (0, 0)))
    page[:200, :200] = 1
    assert 255 * measure_level(page) == pytest.approx(10, rel=0.25)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 4), st.sampled_from([np.uint8, np.uint16, np.float32]))
def test_any_size_has_a_level_from_0_to_1(height, width, channels, dtype):
    level = measure_level(random_pixels((height, width, channels), dtype))
    assert 0 <= level <= 1
    assert (level > 0) == (min(height, width) >= 10)


@given(st.integers(1, 9000), st.integers(1, 9000))
def test_what_is_sampled_lies_within_the_image_and_is_at_most_a_megapixel(height, width):
    windows = list(sample_windows(height, width))
    if height * width > MOST_WINDOWS * WINDOW_PX**2:
        assert len(windows) <= MOST_WINDOWS
    total = 0
    for rows, columns in windows:
        assert 0 <= rows.start < rows.stop
        assert 0 <= columns.start < columns.stop
        assert rows.start < height
        assert columns.start < width
        total += (min(rows.stop, height) - rows.start) * (min(columns.stop, width) - columns.start)
    assert 0 < total <= MOST_WINDOWS * WINDOW_PX**2


@pytest.mark.parametrize("shape", [(100, 130, 3), (90, 70, 1), (40, 200, 4)])
def test_strips_of_an_image_measure_as_the_whole(shape, monkeypatch):
    image = random_pixels(shape, np.uint8)
    level = measure_level(image)
    for values in (1, 10**9):
        monkeypatch.setattr("dae_runtime.pixels.level.STRIP_VALUES", values)
        assert measure_level(image) == level


def test_a_large_image_is_measured_on_parts_of_it():
    tile = np.clip(scene(400, 500) + noise_of("white", (400, 500, 3), 10 / 255), 0, 1).astype(np.float32)
    large = np.tile(convert(tile, np.uint8), (6, 5, 1))
    assert 255 * measure_level(large) == pytest.approx(10, rel=0.25)
