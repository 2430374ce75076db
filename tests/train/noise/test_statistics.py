"""Noise in numbers: of noise that is known, and of the flat blocks of pictures."""

from __future__ import annotations

import numpy as np
import pytest

from dae_train.noise import describe, flat_blocks, white_level


def white(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.02, shape)


def test_white_noise_has_no_correlation() -> None:
    found = describe(white(1, 256, 256, 3))
    assert found.level == pytest.approx(0.02, rel=0.01)
    assert np.abs((*found.luma, *found.color)).max() < 0.02
    gray = describe(white(1, 256, 256, 1))
    assert (gray.color, gray.ratio) == ((0, 0, 0), 0)


def test_means_of_neighbors_are_correlated_as_they_share() -> None:
    noise = white(1, 256, 259, 1)
    mean = (noise[:, :, :-1] + noise[:, :, 1:])[:, :, :256]
    along_rows = describe(mean).luma[0]
    assert along_rows == pytest.approx(0.25, abs=0.02)  # 0.5 along rows, 0 along columns
    assert describe(mean).luma[1] == pytest.approx(0, abs=0.02)


def test_gray_noise_in_three_channels_has_no_color() -> None:
    found = describe(np.repeat(white(1, 64, 64, 1), 3, axis=3))
    assert found.ratio == pytest.approx(0, abs=1e-6)


def test_flat_blocks_are_those_without_texture_and_slopes() -> None:
    picture = np.full((256, 256, 3), 0.5) + np.linspace(0, 0.2, 256)[:, None, None]
    picture[:, 128:] += 0.2 * (np.indices((256, 128)).sum(0) // 3 % 2)[..., None]
    picture += white(256, 256, 3)
    blocks = flat_blocks(picture.astype(np.float32))
    assert blocks.shape == (8, 16, 16, 3)
    assert describe(blocks).level == pytest.approx(0.02, rel=0.05)
    assert len(flat_blocks(np.ones((256, 256, 3), np.float32))) == 0
    assert len(flat_blocks(picture[:40, :40].astype(np.float32))) == 0


def test_an_estimator_for_white_noise_sees_white_noise() -> None:
    for stride in (1, 3):
        assert white_level(0.5 + white(256, 256, 3), stride) == pytest.approx(0.02, rel=0.02)
