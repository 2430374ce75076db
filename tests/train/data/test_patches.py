"""Patches and batches."""

import numpy as np
import pytest

from dae_train.data.batches import plan_batches
from dae_train.data.image_set import ImageSet
from dae_train.data.patches import choose_patch, draw_patches, padded
from dae_train.errors import DataError
from dae_train.settings.networks import preset_settings

V1, V2 = preset_settings("v1"), preset_settings("v2")


@pytest.mark.parametrize(
    ("wanted", "network", "sizes", "expected"),
    [
        (None, V2, {(28, 28)}, (28, 28)),
        (None, V2, {(32, 48)}, (32, 48)),
        (None, V2, {(480, 321)}, (64, 64)),
        (None, V2, {(28, 28), (32, 32)}, (64, 64)),
        (32, V2, {(28, 28)}, (32, 32)),
        (None, V1, {(100, 100)}, (28, 28)),
        (28, V1, {(28, 28)}, (28, 28)),
    ],
)
def test_patch_follows_from_network_and_images(wanted, network, sizes, expected) -> None:  # type: ignore[no-untyped-def]
    assert choose_patch(wanted, network, sizes) == expected


@pytest.mark.parametrize(
    ("wanted", "network", "sizes", "said"),
    [
        (30, V2, {(100, 100)}, "--patch-size 28"),
        (None, V2, {(30, 45)}, "an image of 45x30 pixels does not fit: height and width must be multiples of 4"),
        (32, V1, {(28, 28)}, "fixed size"),
        (2, V2, {(28, 28)}, "--patch-size 4"),
    ],
)
def test_patch_that_does_not_fit_is_refused(wanted, network, sizes, said: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=said):
        choose_patch(wanted, network, sizes)


def test_patches_of_pairs_come_from_the_same_place() -> None:
    place = np.arange(40 * 50, dtype=np.uint16).reshape(40, 50, 1)
    images = ImageSet([place, place[:35]], [place + 10000, place[:35] + 10000])
    noisy, clean = draw_patches(images, [0, 1, 0, 1], (8, 12), np.random.default_rng(0))
    assert noisy.shape == clean.shape == (4, 8, 12, 1)
    np.testing.assert_allclose(noisy - clean, 10000 / 65535, atol=1e-6)
    assert len({float(patch[0, 0, 0]) for patch in clean}) > 1


@pytest.mark.parametrize(("dtype", "largest"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1.0)])
def test_pixels_are_scaled_to_one(dtype: type, largest: float) -> None:
    images = ImageSet(np.full((2, 4, 4, 1), largest, dtype))
    _, clean = draw_patches(images, [1], (4, 4), np.random.default_rng(0))
    assert clean.dtype == np.float32
    assert clean.min() == clean.max() == 1


def test_small_images_are_reflected() -> None:
    small, large = np.arange(6, dtype=np.uint8).reshape(2, 3, 1), np.zeros((9, 9, 1), np.uint8)
    images, count = padded(ImageSet([small, large]), (4, 4))
    assert count == 1
    np.testing.assert_array_equal(images.clean[0][..., 0], np.pad(small[..., 0], ((0, 2), (0, 1)), mode="reflect"))
    assert images.clean[1].shape == (9, 9, 1)


def test_epoch_of_whole_images_contains_each_once() -> None:
    images = ImageSet(np.arange(12, dtype=np.uint8).reshape(12, 1, 1, 1))
    plan = plan_batches(images, (1, 1), 4, None, seed=0)
    assert plan.steps_per_epoch == 3
    epochs = [np.concatenate([plan.batch(step)[1].ravel() for step in range(e * 3, e * 3 + 3)]) * 255 for e in (0, 1)]
    for values in epochs:
        np.testing.assert_allclose(np.sort(values), np.arange(12), atol=1e-4)
    assert not np.array_equal(*epochs)


def test_batch_depends_on_seed_and_step_only() -> None:
    images = ImageSet(np.random.default_rng(0).integers(0, 255, (5, 40, 40, 1), np.uint8))
    first, second = plan_batches(images, (8, 8), 4, 7, seed=1), plan_batches(images, (8, 8), 4, 7, seed=1)
    batches = [first.batch(step)[1] for step in range(20)]
    for step in (19, 3, 8):
        np.testing.assert_array_equal(second.batch(step)[1], batches[step])
    assert len({batch.tobytes() for batch in batches}) == 20
    assert not np.array_equal(plan_batches(images, (8, 8), 4, 7, seed=2).batch(0)[1], batches[0])


def test_few_whole_images_make_small_batches_and_few_photographs_full_ones() -> None:
    few, photographs = (ImageSet(np.zeros((3, side, side, 1), np.uint8)) for side in (4, 9))
    plan = plan_batches(few, (4, 4), 64, None, seed=0)
    assert (plan.batch_size, plan.steps_per_epoch) == (3, 1)
    assert plan_batches(photographs, (4, 4), None, None, seed=0).batch_size == 16
    crops = plan_batches(photographs, (4, 4), 64, None, seed=0)
    assert (crops.batch_size, crops.steps_per_epoch) == (64, 500)
    assert crops.batch(7)[0].shape == (64, 4, 4, 1)
    assert np.ptp(np.bincount(crops.places(0)[:, 0])) == 1


@pytest.mark.parametrize(("steps", "usual"), [(1, 9), (50, 200), (1001, 200), (20000, 938), (12345, 7)])
def test_steps_of_a_run_make_equal_epochs(steps: int, usual: int) -> None:
    images = ImageSet(np.zeros((usual, 4, 4, 1), np.uint8))
    length = plan_batches(images, (4, 4), 1, None, seed=0, steps=steps).steps_per_epoch
    epochs = -(-steps // length)
    assert steps <= epochs * length < steps + epochs
    assert epochs == 1 or 0.6 * usual <= length <= 1.6 * usual
    assert plan_batches(images, (4, 4), 1, length, seed=0, steps=steps).steps_per_epoch == length


@pytest.mark.parametrize(("steps", "at_most"), [(20, 2000), (2500, 2000), (36000, 2000), (7, 3), (1, 1), (999, 10)])
def test_epochs_are_at_most_as_long_as_set_and_sum_to_the_steps_of_the_run(steps: int, at_most: int) -> None:
    images = ImageSet(np.zeros((5, 4, 4, 1), np.uint8))
    length = plan_batches(images, (4, 4), 1, at_most, seed=0, steps=steps).steps_per_epoch
    epochs = -(-steps // length)
    assert length <= at_most
    assert epochs == -(-steps // at_most)
    assert steps <= epochs * length < steps + epochs
    assert plan_batches(images, (4, 4), 1, length, seed=0, steps=steps).steps_per_epoch == length


def test_crops_are_rotated_and_flipped_and_whole_images_are_not() -> None:
    picture = np.arange(36, dtype=np.uint8).reshape(6, 6, 1)
    plan = plan_batches(ImageSet(picture[np.newaxis].repeat(2, 0)), (5, 5), 64, None, seed=0)
    found = {patch.tobytes() for step in range(12) for patch in (plan.batch(step)[1] * 255).round().astype(np.uint8)}
    crops = [picture[row : row + 5, column : column + 5, 0] for row in (0, 1) for column in (0, 1)]
    expected = {np.rot90(image, turns).tobytes() for crop in crops for image in (crop, crop.T) for turns in range(4)}
    assert found == expected
    assert len(found) == 32
    assert not plan_batches(ImageSet(picture[np.newaxis]), (6, 6), 1, None, seed=0).augment
    oblong = plan_batches(ImageSet(picture[np.newaxis, :4]), (4, 6), 1, 99, seed=0, augment=True)
    assert len({oblong.batch(step)[1].tobytes() for step in range(99)}) == 4


def test_pairs_are_rotated_together() -> None:
    rng = np.random.default_rng(0)
    clean = rng.integers(0, 100, (3, 12, 9, 1), np.uint8)
    plan = plan_batches(ImageSet(clean, clean + 50), (4, 4), 32, None, seed=3)
    noisy, target = plan.batch(0)
    np.testing.assert_allclose(noisy - target, 50 / 255, atol=1e-6)
