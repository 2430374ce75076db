"""Calibration samples: arrays and folders, fitted to the model, read in batches, and errors."""

from __future__ import annotations

import numpy as np
import pytest

from dae_export.errors import CalibrationError
from dae_export.measure.samples import BATCH_SIZE, fit, load_samples, synthetic_samples
from dae_runtime.contract import ImageSpec
from dae_runtime.images import Image, write_image

GRAY = ImageSpec(1, 4)


def images(batches) -> np.ndarray:
    return np.concatenate(list(batches))


def test_a_run_s_samples_are_taken_as_they_are(tmp_path, pictures):
    noisy, clean = pictures(20, 28)
    test_noisy, test_clean = pictures(18, 28, seed=1)
    np.savez(tmp_path / "s.npz", noisy=noisy, clean=clean, test_noisy=test_noisy, test_clean=test_clean)
    samples = load_samples(tmp_path / "s.npz", GRAY)
    assert (samples.calibration.count, samples.test.count) == (20, 18)
    np.testing.assert_array_equal(images(samples.calibration), noisy)
    np.testing.assert_array_equal(images(samples.test), test_noisy)
    assert samples.clean is not None
    np.testing.assert_array_equal(images(samples.clean), test_clean)
    np.testing.assert_array_equal(images(samples.test), test_noisy)  # a second time


def test_batches_are_bounded(tmp_path, pictures):
    np.save(tmp_path / "s.npy", pictures(50, 8)[0])
    assert {len(batch) for batch in load_samples(tmp_path / "s.npy", GRAY).calibration} <= set(range(1, BATCH_SIZE + 1))


def test_without_a_test_part_some_samples_are_held_out(tmp_path, pictures):
    noisy, clean = pictures(9, 8)
    np.savez(tmp_path / "s.npz", noisy=noisy, clean=clean)
    samples = load_samples(tmp_path / "s.npz", GRAY)
    assert (samples.calibration.count, samples.test.count) == (6, 3)
    seen = {image.tobytes() for image in images(samples.calibration)}
    assert all(image.tobytes() not in seen for image in images(samples.test))
    assert samples.clean is not None
    np.testing.assert_array_equal(images(samples.clean), clean[::4])


@pytest.mark.parametrize(("dtype", "largest"), [(np.uint8, 255), (np.uint16, 65535)])
def test_integers_are_scaled_and_a_channel_axis_is_added(tmp_path, dtype, largest):
    noisy = np.full((4, 8, 8), largest, dtype)
    np.save(tmp_path / "s.npy", noisy)
    batch = images(load_samples(tmp_path / "s.npy", GRAY).calibration)
    assert batch.dtype == np.float32
    np.testing.assert_array_equal(batch, np.ones((3, 8, 8, 1)))


@pytest.mark.parametrize(
    ("spec", "shape", "expected"),
    [
        (GRAY, (2, 30, 13, 1), (2, 28, 12, 1)),
        (GRAY, (2, 3, 1, 1), (2, 4, 4, 1)),
        (ImageSpec(1, fixed_size=(28, 20)), (2, 64, 7, 1), (2, 28, 20, 1)),
        (ImageSpec(3, 8), (1, 600, 1000, 3), (1, 512, 512, 3)),
    ],
)
def test_images_are_cut_or_padded_to_what_the_model_takes(spec, shape, expected):
    original = np.random.default_rng(0).random(shape, np.float32)
    before = original.copy()
    fitted = fit(original, spec)
    assert fitted.shape == expected
    assert set(np.unique(fitted)) <= set(np.unique(original))
    np.testing.assert_array_equal(original, before)


def test_a_folder_of_images_in_any_color(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "sub").mkdir()
    write_image(tmp_path / "a.png", Image(rng.integers(0, 256, (9, 12), np.uint8)))
    write_image(tmp_path / "sub" / "b.png", Image(rng.integers(0, 256, (16, 8, 3), np.uint8)))
    write_image(tmp_path / "sub" / "c.png", Image(rng.integers(0, 256, (8, 8, 4), np.uint8)))
    gray, color = load_samples(tmp_path, GRAY), load_samples(tmp_path, ImageSpec(3, 4))
    assert gray.clean is None
    assert [batch.shape for batch in gray.test] == [(1, 8, 12, 1)]
    assert [batch.shape for batch in gray.calibration] == [(3, 16, 8, 1), (3, 8, 8, 1)]  # color by color
    assert [batch.shape for batch in color.test] == [(1, 8, 12, 3)]
    assert [batch.shape for batch in color.calibration] == [(1, 16, 8, 3), (1, 8, 8, 3)]
    assert all(0 <= batch.min() <= batch.max() <= 1 for batch in gray.calibration)


def test_a_model_without_samples_gets_pictures_that_it_takes():
    for spec, shape in ((ImageSpec(3, 24), (48, 48)), (ImageSpec(1, fixed_size=(28, 20)), (28, 20))):
        samples = synthetic_samples(spec)
        (batch,) = samples.test
        assert batch.shape == (samples.test.count, *shape, spec.channels)
        assert samples.clean is None


def refused(path, words: str, spec: ImageSpec = GRAY) -> None:
    with pytest.raises(CalibrationError, match=words):
        load_samples(path, spec)


def test_unusable_samples_are_refused_with_the_reason(tmp_path):
    noisy = np.zeros((4, 8, 8, 1), np.float32)
    refused(tmp_path / "missing.npz", "does not exist")
    (tmp_path / "text.txt").write_text("no")
    refused(tmp_path / "text.txt", "another kind")
    (tmp_path / "damaged.npz").write_bytes(b"PK\x03\x04")
    refused(tmp_path / "damaged.npz", "cannot be read")
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    refused(tmp_path / "objects.npy", "cannot be read")
    np.savez(tmp_path / "other.npz", images=noisy)
    refused(tmp_path / "other.npz", "named noisy")
    np.savez(tmp_path / "pair.npz", noisy=noisy, clean=noisy[:2])
    refused(tmp_path / "pair.npz", "one shape")
    np.savez(tmp_path / "half.npz", noisy=noisy, test_clean=noisy)
    refused(tmp_path / "half.npz", "test_noisy and test_clean")
    np.save(tmp_path / "channels.npy", noisy)
    refused(tmp_path / "channels.npy", r"\(N, H, W, 3\)", ImageSpec(3, 4))
    np.save(tmp_path / "range.npy", noisy + 200)
    refused(tmp_path / "range.npy", "up to 200")
    np.save(tmp_path / "nan.npy", noisy * np.nan)
    refused(tmp_path / "nan.npy", "nan")
    np.save(tmp_path / "one.npy", noisy[:1])
    refused(tmp_path / "one.npy", "at least 2")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "no images")
