"""Noisy images with their levels: read from samples, measured, or spread, and cut together."""

from __future__ import annotations

import numpy as np
import pytest

from dae_export.errors import CalibrationError
from dae_export.measure.batches import Leveled, feeds, part_of, spread, trained_range
from dae_export.measure.samples import load_samples, read_levels
from dae_runtime.contract import ImageSpec, SigmaInput
from dae_runtime.images import Image, write_image

GRAY = ImageSpec(1, 4)
LEVELS = SigmaInput(0.1, 0.3)


def levels_of(batches) -> list[float]:
    return np.concatenate([batch.sigma for batch in batches]).ravel().tolist()


def test_levels_go_with_their_images():
    batch = Leveled(np.arange(24, dtype=np.float32).reshape(3, 2, 4, 1), np.float32([[0.1], [0.2], [0.3]]))
    part = part_of(batch, 1, 3)
    assert isinstance(part, Leveled)
    np.testing.assert_array_equal(part.noisy, batch.noisy[1:])
    np.testing.assert_array_equal(part.sigma, batch.sigma[1:])
    assert list(feeds(part)) == ["noisy", "sigma"]
    assert list(feeds(part.noisy)) == ["noisy"]


@pytest.mark.parametrize("shape", [(20,), (20, 1)])
def test_a_file_says_the_levels_of_its_samples(tmp_path, pictures, shape):
    noisy, clean = pictures(20, 8)
    sigma = np.linspace(0, 0.4, 20).reshape(shape)
    np.savez(tmp_path / "s.npz", noisy=noisy, clean=clean, sigma=sigma, test_noisy=noisy[::-1], test_sigma=sigma[::-1])
    samples = load_samples(tmp_path / "s.npz", GRAY, LEVELS)
    assert levels_of(samples.calibration) == pytest.approx(sigma.ravel())
    assert levels_of(samples.test) == pytest.approx(sigma.ravel()[::-1])
    found = read_levels(tmp_path / "s.npz")
    assert found is not None
    assert (found.min(), found.max()) == (0, pytest.approx(0.4))
    assert isinstance(next(iter(load_samples(tmp_path / "s.npz", GRAY).calibration)), np.ndarray)  # nobody asked for levels


def test_held_out_samples_keep_their_levels(tmp_path, pictures):
    noisy, _ = pictures(9, 8)
    np.savez(tmp_path / "s.npz", noisy=noisy, sigma=np.linspace(0, 0.8, 9))
    samples = load_samples(tmp_path / "s.npz", GRAY, LEVELS)
    assert levels_of(samples.test) == pytest.approx([0, 0.4, 0.8])


def test_levels_are_measured_where_clean_images_are(tmp_path, pictures):
    clean = pictures(8, 32)[1]
    levels = np.linspace(0.02, 0.3, 8)
    noise = np.random.default_rng(0).standard_normal(clean.shape) * levels[:, None, None, None]
    np.savez(tmp_path / "s.npz", noisy=np.float32(clean + noise), clean=clean)
    samples = load_samples(tmp_path / "s.npz", GRAY, LEVELS)
    assert levels_of(samples.test) == pytest.approx(levels[::4], rel=0.1)


def test_other_samples_stand_for_all_levels(tmp_path, pictures):
    np.save(tmp_path / "s.npy", pictures(12, 8)[0])
    samples = load_samples(tmp_path / "s.npy", GRAY, LEVELS)
    found = sorted(levels_of(samples.calibration) + levels_of(samples.test))
    assert found == pytest.approx(np.linspace(0.1, 0.3, 12))
    assert sorted(spread(LEVELS, 12).ravel().tolist()) == pytest.approx(found)
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(4):
        write_image(folder / f"{number}.png", Image(np.full((8, 8, 3), 50 * number, np.uint8)))
    for batch in load_samples(folder, GRAY, LEVELS).calibration:
        assert isinstance(batch, Leveled)
        assert batch.noisy.shape == (3, 8, 8, 1)  # the three colors of an image, all of its level
        assert len(set(batch.sigma.ravel().tolist())) == 1


@pytest.mark.parametrize("sigma", [np.zeros(3), np.full(4, 1.5), np.full(4, np.nan), np.zeros(4, np.uint8)])
def test_impossible_levels_are_refused(tmp_path, pictures, sigma):
    np.savez(tmp_path / "s.npz", noisy=pictures(4, 8)[0], sigma=sigma)
    with pytest.raises(CalibrationError, match="sigma must be 4 numbers from 0 to 1"):
        load_samples(tmp_path / "s.npz", GRAY, LEVELS)


@pytest.mark.parametrize(
    ("noise", "seen", "expected"),
    [
        ("gaussian:0.02-0.2", None, (0.02, 0.2)),
        ("gaussian:0-2", None, (0, 1)),
        ("gaussian:0.2", None, (0, 0.2)),
        ("poisson:30", [[0.05], [0.1]], (0.05, 0.1)),
        ("gaussian:0.02-0.2", [[0.05], [0.1]], (0.02, 0.2)),
    ],
)
def test_range_is_that_of_the_noise_or_of_the_samples(noise, seen, expected):
    found = trained_range(noise, None if seen is None else np.float32(seen), "the network")
    assert (found.low, found.high) == pytest.approx(expected)
