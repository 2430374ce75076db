"""The level of noise that is drawn: what was drawn of Gaussian noise, and what is measured of any other."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from dae_runtime.contract import parse_noise
from dae_train import NoiseSettings
from dae_train.noise import LeveledNoise, draw_leveled, draw_noisy

CLEAN = np.full((6, 64, 64, 3), 0.5, np.float32)


def spread_of(noisy: np.ndarray, clean: np.ndarray = CLEAN) -> np.ndarray:
    return np.sqrt(np.mean(np.square(noisy - clean), axis=(1, 2, 3)))[:, None]


def draw(spec: str, clean: np.ndarray = CLEAN, paired: bool = False, clip: bool = False) -> tuple[np.ndarray, np.ndarray]:
    layer = LeveledNoise(parse_noise(spec).recipes, clip, 3, paired)
    return tuple(map(np.asarray, layer(ops.convert_to_tensor(clean), ops.convert_to_tensor(CLEAN), training=True)))


def test_level_of_gaussian_noise_is_the_one_that_was_drawn() -> None:
    noisy, level = draw("gaussian:0.02-0.2")
    assert level.shape == (6, 1)
    assert np.ptp(level) > 0.03
    np.testing.assert_allclose(level, spread_of(noisy), rtol=0.05)
    assert np.abs(level - spread_of(noisy)).max() > 1e-5


def test_clipping_does_not_lower_it() -> None:
    noisy, level = draw("gaussian:0.5-0.9", clip=True)
    assert noisy.min() == 0
    assert noisy.max() == 1
    assert (level > 1.2 * spread_of(noisy)).all()
    assert ((level >= 0.5) & (level <= 0.9)).all()


@pytest.mark.parametrize("spec", ["poisson:20-200", "gaussian:0.05+salt-pepper:0.01-0.1", "speckle:0.1-0.4"])
def test_level_of_other_noise_is_measured(spec: str) -> None:
    noisy, level = draw(spec)
    np.testing.assert_allclose(level, spread_of(noisy), rtol=1e-4)
    assert np.ptp(level) > 0.01


def test_each_recipe_tells_its_own_level_of_its_share() -> None:
    noisy, level = draw("gaussian:0.5-0.9 or speckle:0.1 or gaussian:0", clip=True)
    assert ((level[:2] >= 0.5) & (level[:2] <= 0.9)).all()  # drawn, whatever clipping took
    np.testing.assert_allclose(level[2:4], spread_of(noisy)[2:4], rtol=1e-4)
    np.testing.assert_array_equal(noisy[4:], CLEAN[4:])


def test_noise_that_images_have_already_counts() -> None:
    shots = CLEAN + 0.1 * np.random.default_rng(0).standard_normal(CLEAN.shape).astype(np.float32)
    noisy, level = draw("gaussian:0.1", shots, paired=True)
    np.testing.assert_allclose(level, 0.1 * np.sqrt(2), rtol=0.05)
    noisy, level = draw("none", shots, paired=True)
    np.testing.assert_array_equal(noisy, shots)
    np.testing.assert_allclose(level, 0.1, rtol=0.05)


def test_noise_of_the_validation_is_that_of_other_networks() -> None:
    """The same seed gives the same noisy images whether their level is wanted or not: figures can be compared."""
    for spec in ("gaussian:0.02-0.2", "poisson:30-300+gaussian:0.01-0.05"):
        settings = NoiseSettings(spec)
        noisy, level = draw_leveled(CLEAN, CLEAN, settings, 7, paired=False)
        np.testing.assert_array_equal(noisy, draw_noisy(CLEAN, settings, 7))
        np.testing.assert_allclose(level, spread_of(noisy), rtol=0.05)
    pixels = np.round(CLEAN * 255).astype(np.uint8)
    noisy, level = draw_leveled(pixels, pixels, NoiseSettings("custom"), 7, False, lambda images, seed: images + 0.1)
    np.testing.assert_allclose(level, 0.1, rtol=1e-4)
