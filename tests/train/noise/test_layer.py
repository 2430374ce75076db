"""Noise: the statistics of each kind, and how kinds combine."""

import io

import numpy as np
import pytest
from keras import ops, random

from dae_runtime.contract import NOISE_KINDS, parse_noise
from dae_train.noise import NoiseLayer, draw_noisy
from dae_train.noise.jpeg import jpeg
from dae_train.noise.layer import apply_noise, sample_poisson
from dae_train.settings.noise import NoiseSettings


def noisy(spec: str, value: float | np.ndarray, clip: bool = False, seed: int = 0) -> np.ndarray:
    images = np.full((8, 64, 64, 1), value, np.float32) if isinstance(value, float) else value
    return np.asarray(apply_noise(ops.convert_to_tensor(images), parse_noise(spec).recipes, clip, random.SeedGenerator(seed)))


def test_gaussian_has_its_mean_and_deviation() -> None:
    found = noisy("gaussian:0.25", 0.5)
    assert found.mean() == pytest.approx(0.5, abs=0.005)
    assert found.std() == pytest.approx(0.25, rel=0.02)
    assert found.min() < -0.2  # not clipped


def test_clipping_ends_at_zero_and_one() -> None:
    found = noisy("gaussian:0.5", 0.5, clip=True)
    assert (found.min(), found.max()) == (0, 1)
    assert np.mean(found == 0) == pytest.approx(0.1587, abs=0.01)


def test_range_is_sampled_for_each_image() -> None:
    images = np.zeros((400, 32, 32, 1), np.float32)
    deviations = noisy("gaussian:0.1-0.3", images).std(axis=(1, 2, 3))
    assert 0.095 < deviations.min() < 0.12
    assert 0.28 < deviations.max() < 0.32
    assert deviations.mean() == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize("value", [0.05, 0.3, 0.9])
@pytest.mark.parametrize("peak", [5.0, 30.0, 1000.0])
def test_poisson_has_the_variance_of_photons(value: float, peak: float) -> None:
    found = noisy(f"poisson:{peak}", value)
    assert found.mean() == pytest.approx(value, abs=5 * np.sqrt(value / peak / found.size) + 1e-5)
    assert found.var() == pytest.approx(value / peak, rel=0.04)
    np.testing.assert_allclose(found * peak, np.rint(found * peak), atol=1e-2)


@pytest.mark.parametrize("rate", [0.0, 0.2, 3.0, 9.9, 10.1, 40.0])
def test_poisson_numbers_have_the_right_distribution(rate: float) -> None:
    drawn = np.asarray(sample_poisson(ops.full((200_000,), rate, dtype="float32"), random.SeedGenerator(1))).astype(int)
    counts = np.bincount(drawn, minlength=100)[:100] / drawn.size
    k = np.arange(100)
    log_factorials = np.concatenate([[0.0], np.cumsum(np.log(k[1:]))])
    expected = np.exp(k * np.log(rate) - rate - log_factorials) if rate else (k == 0).astype(float)
    assert np.abs(counts.cumsum() - expected.cumsum()).max() < 0.006


def test_poisson_gaussian_has_signal_dependent_variance() -> None:
    for value in (0.0, 0.2, 0.8):
        assert noisy("poisson-gaussian:0.01,0.05", value).var() == pytest.approx(0.01 * value + 0.05**2, rel=0.05)


def test_salt_and_pepper_replace_their_share() -> None:
    found = noisy("salt-pepper:0.2", 0.5)
    assert np.mean(found == 0) == pytest.approx(0.1, abs=0.01)
    assert np.mean(found == 1) == pytest.approx(0.1, abs=0.01)
    assert np.mean(found == 0.5) == pytest.approx(0.8, abs=0.01)


def test_speckle_grows_with_the_value() -> None:
    assert noisy("speckle:0.3", 0.0).std() == 0
    assert noisy("speckle:0.3", 0.5).std() == pytest.approx(0.15, rel=0.02)
    assert noisy("speckle:0.3", 0.5).mean() == pytest.approx(0.5, abs=0.005)


def picture(height: int, width: int, channels: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    planes = [np.sin(rows / (3 + c)) * np.cos(columns / (5 - c)) * 0.4 + 0.5 for c in range(channels)]
    sharp = (rows // 6 + columns // 9) % 2 * 0.3
    return (np.clip(np.stack(planes, -1) - sharp[..., None], 0, 1) * 255).astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("quality", [10, 50, 90])
@pytest.mark.parametrize("size", [(64, 64), (37, 50)])
@pytest.mark.parametrize("halved", [False, True])
def test_jpeg_equals_a_jpeg_file(channels: int, quality: int, size: tuple[int, int], halved: bool) -> None:
    from PIL import Image

    pixels = picture(*size, channels)
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(file, "JPEG", quality=quality, subsampling=2 * halved)
    expected = np.asarray(Image.open(file)).reshape(pixels.shape).astype(float)
    images = ops.convert_to_tensor(pixels[None].astype(np.float32) / 255)
    found = np.asarray(jpeg(images, ops.full((1, 1, 1, 1), float(quality)), ops.full((1, 1, 1, 1), halved)))[0] * 255
    damage = np.abs(expected - pixels).mean()
    # libjpeg computes the transform in integers, to an eighth of a level: coefficients near a half may round the other way
    # and it smooths halved colors between their pixels in another way
    assert np.abs(found - expected).mean() < (1.5 if halved and channels == 3 else 0.45) + 0.03 * damage
    assert damage > 1.5
    assert np.abs(found - np.rint(found)).max() < 1e-3


def test_jpeg_gets_worse_with_lower_quality() -> None:
    image = picture(64, 64, 1)[None].astype(np.float32) / 255
    errors = [np.square(noisy(f"jpeg:{quality}", image) - image).mean() for quality in (95, 60, 20, 5)]
    assert errors == sorted(errors)
    assert errors[0] < 1e-4 < errors[-1]


def test_kinds_apply_in_order() -> None:
    image = np.full((4, 32, 32, 1), 0.5, np.float32)
    smoothed, noised = noisy("gaussian:0.05+jpeg:5", image), noisy("jpeg:5+gaussian:0.05", image)
    assert smoothed.std() < 0.5 * noised.std()
    np.testing.assert_allclose(smoothed * 255, np.rint(smoothed * 255), atol=1e-3)  # compressed last: whole levels


@pytest.mark.parametrize("count", [1, 2, 5])
def test_recipes_share_a_batch_equally(count: int) -> None:
    changed = np.ptp(noisy("gaussian:0.1 or gaussian:0", np.full((count, 8, 8, 1), 0.5, np.float32)), axis=(1, 2, 3)) > 0
    np.testing.assert_array_equal(changed, np.arange(count) < count // 2)


def test_recipes_take_turns_over_single_images() -> None:
    images = [np.full((8, 8 + number, 1), 0.5, np.float32) for number in range(4)]
    drawn = draw_noisy(images, NoiseSettings("gaussian:0.1 or gaussian:0"), 0)
    assert [bool(np.ptp(image)) for image in drawn] == [True, False, True, False]


@pytest.mark.parametrize("kind", list(NOISE_KINDS))
def test_every_kind_keeps_shape_and_type_and_input(kind: str) -> None:
    amounts = {"jpeg": ["50"], "camera": ["800"]}.get(kind, ["0.5"] * len(NOISE_KINDS[kind]))
    spec = f"{kind}:{','.join(amounts)}"
    image = np.random.default_rng(0).random((3, 10, 14, 3), np.float32)
    before = image.copy()
    found = noisy(spec, image)
    assert (found.shape, found.dtype) == (image.shape, np.float32)
    np.testing.assert_array_equal(image, before)
    assert not np.array_equal(found, image)


def test_layer_is_active_in_training_only_and_samples_each_batch() -> None:
    steps = parse_noise("gaussian:0.1").recipes
    layer = NoiseLayer(steps, True, seed=3)
    image = ops.full((2, 8, 8, 1), 0.5, dtype="float32")
    first, second = np.asarray(layer(image, training=True)), np.asarray(layer(image, training=True))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(np.asarray(layer(image, training=False)), np.asarray(image))
    np.testing.assert_array_equal(np.asarray(NoiseLayer(steps, True, seed=3)(image, training=True)), first)


def test_fixed_noise_depends_on_the_seed_only() -> None:
    images = np.full((5, 12, 12, 1), 128, np.uint8)
    first, again, other = (np.asarray(draw_noisy(images, NoiseSettings("gaussian:0.2"), seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first[0], first[1])
    mixed = draw_noisy([images[0], images[1, :8, :5]], NoiseSettings("gaussian:0.2"), 1)
    assert [image.shape for image in mixed] == [(12, 12, 1), (8, 5, 1)]
