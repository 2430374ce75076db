"""Models that are given the noise level: fed per image through batches, tiles and windows, told or measured."""

from __future__ import annotations

import logging
import pickle

import numpy as np
import pytest

from builders import BLUR, make_model, random_pixels
from dae_runtime import Denoiser, InputError, ModelError
from dae_runtime.contract import SigmaInput
from dae_runtime.diagnosis.self_test import self_test
from dae_runtime.pixels.advice import GRAY

GAIN = 8.0


@pytest.fixture(scope="module")
def told() -> Denoiser:
    """Color model of floats: noisy + 8 sigma (blur - noisy)."""
    return Denoiser(make_model(channels=3, gain=GAIN, alignment=4), "cpu", 1)


def noisy_photograph(shape: tuple[int, ...] = (96, 128, 3), sigma: float = 0.05, seed: int = 0) -> np.ndarray:
    """Return a smooth picture with white noise, 8 bits."""
    down, across = np.linspace(0.25, 0.7, shape[0]), np.linspace(0, 0.1, shape[1])
    clean = np.broadcast_to(np.add.outer(down, across)[..., None], shape)
    noise = np.random.default_rng(seed).normal(0, sigma, shape)
    return np.rint(255 * np.clip(clean + noise, 0, 1)).astype(np.uint8)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("io_dtype", ["float32", "uint8"])
def test_the_level_decides_how_much_is_changed_and_0_is_the_input(dtype, io_dtype):
    image = random_pixels((16, 20, 3), dtype)
    if io_dtype == "uint8" and dtype != np.uint8:
        image = (image // 257 * 257) if dtype == np.uint16 else (image * 255).round().astype(np.float32) / np.float32(255)
    with Denoiser(make_model(channels=3, gain=GAIN, io_dtype=io_dtype), "cpu", 1) as denoiser:
        np.testing.assert_array_equal(denoiser.denoise(image, sigma=0), image)
        weak, strong = (np.float64(denoiser.denoise(image, sigma=sigma)) - image for sigma in (0.05, 0.1))
    white = 1 if dtype == np.float32 else np.iinfo(dtype).max
    step = (1 / 255 if io_dtype == "uint8" else 1e-6) + (1 / white if dtype != np.float32 else 0)
    np.testing.assert_allclose(strong / white, 2 * weak / white, atol=2 * step)
    assert np.abs(strong).max() > 0.1 * white


def test_each_image_of_a_batch_gets_its_own_level(told: Denoiser):
    batch = np.stack([noisy_photograph(seed=seed) for seed in range(3)])
    levels = [0.0, 0.05, 0.1]
    together = told.denoise(batch, sigma=levels)
    for image, level, clean in zip(batch, levels, together, strict=True):
        np.testing.assert_array_equal(clean, told.denoise(image, sigma=level))
    np.testing.assert_array_equal(told.denoise(batch, sigma=0.05)[1], together[1])


def test_a_level_that_is_not_told_is_advised_for_each_image(told: Denoiser):
    batch = np.stack([noisy_photograph(sigma=sigma) for sigma in (0.02, 0.05, 0.1)])
    measured, levels = ([level(image) for image in batch] for level in (told.measure, told.advise))
    np.testing.assert_allclose(measured, [0.02, 0.05, 0.1], rtol=0.25)
    np.testing.assert_allclose(levels[1:], np.add(measured[1:], 1 / 255), rtol=1e-6)
    assert GRAY.usual / 255 < levels[0] < measured[0] + 1 / 255  # near the usual one
    clean = told.denoise(batch)
    np.testing.assert_array_equal(clean, told.denoise(batch, sigma=levels))
    np.testing.assert_array_equal(list(told.stream(batch)), clean)
    assert told.measure(np.full((64, 64, 3), 90, np.uint8)) < 1 / 255


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("controls", [{}, {"sigma": 0.08}, {"luma": 0.3, "color": 0.9, "detail": 0.5, "strength": 0.8}])
def test_tiles_come_out_as_the_whole_to_the_last_bit(channels, controls):
    model = make_model(channels=channels, gain=GAIN, alignment=4)
    image = np.dstack([noisy_photograph((333, 401, 3)), random_pixels((333, 401))])
    with Denoiser(model, "cpu", 1) as whole, Denoiser(model, "cpu", 1, tile_px=64) as tiled:
        expected = whole.denoise(image, **controls)
        np.testing.assert_array_equal(tiled.denoise(image, **controls), expected)
        np.testing.assert_array_equal(tiled.denoise(image[None], **controls)[0], expected)
    np.testing.assert_array_equal(expected[..., 3], image[..., 3])


def test_windows_of_a_model_of_fixed_size_get_the_level_of_their_image():
    with Denoiser(make_model(channels=1, gain=GAIN, size=(32, 32)), "cpu", 1) as denoiser:
        batch = np.stack([noisy_photograph((70, 90, 1), seed=seed) for seed in range(2)])
        clean = denoiser.denoise(batch, sigma=[0.0, 0.1])
        np.testing.assert_array_equal(clean[0], batch[0])
        np.testing.assert_array_equal(clean[1], denoiser.denoise(batch[1], sigma=0.1))
        assert np.abs(np.int32(clean[1]) - batch[1]).max() > 3


def test_a_level_beyond_what_was_trained_on_is_held_at_its_end_and_told_once(told: Denoiser, caplog):
    image = noisy_photograph()
    with caplog.at_level(logging.WARNING, "dae_runtime"):
        strongest = told.denoise(image, sigma=0.5)
        told.denoise(image, sigma=0.6)
    assert [record.getMessage() for record in caplog.records] == [
        "the model tiny was trained on noise up to 60 of 255; stronger noise is treated as that"
    ]
    np.testing.assert_array_equal(strongest, told.denoise(image, sigma=60 / 255))


def test_self_test_pickle_and_memory_limit_know_the_level(told: Denoiser):
    assert self_test(told).passed
    image = noisy_photograph()
    with pickle.loads(pickle.dumps(told)) as copy:
        np.testing.assert_array_equal(copy.denoise(image), told.denoise(image))
    with Denoiser(make_model(channels=3, gain=GAIN, alignment=4), "cpu", 1, max_memory_mb=64) as limited:
        np.testing.assert_array_equal(limited.denoise(image), told.denoise(image))


def test_a_forked_child_gives_the_level_too(run_python, tmp_path):
    path = tmp_path / "told.onnx"
    path.write_bytes(make_model(gain=GAIN))
    code = """
import os, sys
import numpy as np
from dae_runtime import Denoiser
denoiser = Denoiser(sys.argv[1], "cpu", threads=2)
image = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
expected = denoiser.denoise(image, sigma=0.1)
if (pid := os.fork()) == 0:
    os._exit(7 if (denoiser.denoise(image, sigma=0.1) == expected).all() else 1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    result = run_python("-W", "ignore", "-c", code, path)
    assert result.stdout.split() == ["7"], result.stderr


def test_a_level_for_a_model_that_estimates_by_itself_is_refused(blur: Denoiser):
    for use in (blur.denoise, lambda image, sigma: list(blur.stream([image], sigma=sigma))):
        with pytest.raises(InputError, match=r"sigma has no use with the model tiny, which estimates the noise by itself"):
            use(np.zeros((16, 16), np.uint8), sigma=0.1)
    assert blur.measure(np.zeros((16, 16), np.uint8)) is None
    assert blur.advise(np.zeros((16, 16), np.uint8)) is None
    with (
        Denoiser("color", device="cpu", threads=1) as default,
        pytest.raises(InputError, match="estimates the noise by itself"),
    ):
        default.stream([], sigma=0.1)


@pytest.mark.parametrize(
    ("sigma", "text"),
    [
        ([0.1, 0.2, 0.3], "sigma must be one number, or one for each of the 2 images; received 3"),
        ([0.1, 2.0], r"sigma must be a number from 0 to 1.*not 2\.0.*Divide a level on the scale of 0 to 255 by 255"),
        ("0.1", "sigma must be a number from 0 to 1"),
    ],
)
def test_levels_that_do_not_fit_the_images_are_refused(told: Denoiser, sigma, text):
    with pytest.raises(InputError, match=text):
        told.denoise(np.zeros((2, 8, 8, 3), np.uint8), sigma=sigma)


def test_a_file_whose_inputs_are_not_what_its_contract_says_is_refused():
    with pytest.raises(ModelError, match=r"one input 'sigma', float32 of shape \(N, 1\)"):
        Denoiser(make_model(kernel=BLUR, sigma=SigmaInput(0.0, 0.2), golden=_golden_with_sigma()), "cpu", 1)
    with pytest.raises(ModelError, match=r"the file has 'noisy'.*'sigma'"):
        Denoiser(make_model(gain=GAIN, sigma=None, golden=_golden_without_sigma()), "cpu", 1)


def _golden_with_sigma():
    return Denoiser(make_model(gain=GAIN), "cpu", 1).model.golden


def _golden_without_sigma():
    return Denoiser(make_model(), "cpu", 1).model.golden
