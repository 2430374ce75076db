"""A large image takes its memory once: the result is written over the input, and is the same as beside it."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import make_hourglass, make_model, random_pixels
from dae_runtime import Denoiser, ModelError
from dae_runtime.images import Image, write_image
from dae_runtime.inference import open_model
from dae_runtime.jobs.plan import plan
from dae_runtime.jobs.run import run_jobs
from dae_runtime.models import bundled
from dae_runtime.pixels.common_noise import add_luma_change, has_common_noise, luma_plane


@pytest.fixture(scope="module")
def small_tiles() -> Denoiser:
    return Denoiser(make_hourglass("fp32"), "cpu", 1, tile_px=32)


@pytest.fixture(scope="module")
def defaults() -> Denoiser:
    return Denoiser(device="cpu", threads=1, tile_px=320)


def some_image(size: tuple[int, int], channels: int, dtype: type, form: str) -> np.ndarray:
    """Return noise: plain, gray stored as colors, of 12 bits, with hidden pixels, or nearly equal in all channels."""
    image = random_pixels((*size, channels), dtype)
    image[..., -1] = np.maximum(image[..., -1], 1 if dtype != np.float32 else 0.1)
    if form == "12 bits" and dtype == np.uint16:
        image = image >> 4
        image[0, 0] = 4095
    if form == "gray" and channels > 2:
        image[..., 1:3] = image[..., :1]
    if form == "hidden" and channels in (2, 4):
        image[size[0] // 3 :, : size[1] // 2, -1] = 0
    if form == "common" and channels > 2:
        low = np.linspace(0.2, 0.5, 3) * (1 if dtype == np.float32 else np.iinfo(dtype).max)
        image[..., :3] = (low + image[..., :1] * 0.25).astype(dtype)
    return image


@given(
    size=st.tuples(st.integers(1, 150), st.integers(1, 150)),
    channels=st.integers(1, 4),
    dtype=st.sampled_from([np.uint8, np.uint16, np.float32]),
    form=st.sampled_from(["plain", "gray", "12 bits", "hidden"]),
    detail=st.sampled_from([0, 0, 1]),
    strength=st.sampled_from([1, 0.5]),
)
@settings(max_examples=150, deadline=None)
def test_over_the_input_is_the_same_as_beside_it(small_tiles, size, channels, dtype, form, detail, strength):
    image = some_image(size, channels, dtype, form)
    given_image = image.copy()
    beside = small_tiles.denoise(image, detail=detail, strength=strength)
    np.testing.assert_array_equal(image, given_image)
    np.testing.assert_array_equal(small_tiles.denoise(image, detail=detail, strength=strength, overwrite_input=True), beside)


@pytest.mark.parametrize("sigma", [None, 12 / 255, 40 / 255])  # 40 is for the model for strong noise
@pytest.mark.parametrize(("channels", "form"), [(3, "plain"), (3, "common"), (4, "common"), (4, "hidden"), (3, "gray")])
def test_the_default_models_write_over_the_input_too(defaults, channels, form, sigma):
    image = some_image((400, 700), channels, np.uint8, form)
    beside = defaults.denoise(image, sigma=sigma)
    over = defaults.denoise(image, sigma=sigma, overwrite_input=True)
    np.testing.assert_array_equal(over, beside)
    assert np.shares_memory(over, image) == (form != "hidden")


def test_a_batch_of_several_forms(small_tiles):
    batch = np.stack([some_image((70, 90), 3, np.uint8, form) for form in ("plain", "gray", "plain")])
    beside = small_tiles.denoise(batch)
    np.testing.assert_array_equal(small_tiles.denoise(batch, overwrite_input=True), beside)


def test_what_cannot_be_written_is_not(small_tiles):
    image = random_pixels((100, 100))
    kept = image.copy()
    image.flags.writeable = False
    small_tiles.denoise(image, overwrite_input=True)
    np.testing.assert_array_equal(image, kept)
    windows = Denoiser(make_model(size=(8, 8)), "cpu", 1)
    rows = random_pixels((20, 20))
    beside = windows.denoise(rows)
    np.testing.assert_array_equal(windows.denoise(rows, overwrite_input=True), beside)


def growth(work) -> int:
    """Return how much memory numpy takes meanwhile, at most."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("form", ["plain", "gray"])
def test_a_large_image_takes_its_memory_once(form):
    denoiser = Denoiser(make_hourglass("fp32"), "cpu", 1, tile_px=128)
    image = some_image((6000, 600), 3, np.uint8, form)
    beside = growth(lambda: denoiser.denoise(image))
    over = growth(lambda: denoiser.denoise(image, overwrite_input=True))
    assert beside > image.nbytes
    assert over < 0.5 * image.nbytes


def test_the_brightness_of_a_large_image_is_changed_in_strips():
    image = random_pixels((1, 6000, 600, 3))
    assert growth(lambda: add_luma_change(image, luma_plane(image))) < 0.75 * image.nbytes


def test_noise_that_is_equal_in_all_channels_takes_one_plane_more(tmp_path, monkeypatch):
    """That of the brightness, which is denoised in its place."""
    (tmp_path / "gray.onnx").write_bytes(make_model())
    (tmp_path / "photo.onnx").write_bytes(make_model(channels=3))
    monkeypatch.setattr(bundled, "MODEL_FOLDER", tmp_path)
    noise = np.random.default_rng(0).normal(0, 12, (18000, 600, 1))
    image = np.rint(noise + np.array([100, 120, 140])).astype(np.uint8)
    assert has_common_noise(image)
    with Denoiser(device="cpu", threads=1, tile_px=128) as denoiser:
        expected = denoiser.denoise(image)
        assert len(denoiser.models_used) == 2
        assert growth(lambda: denoiser.denoise(image, overwrite_input=True)) < 0.6 * image.nbytes
    np.testing.assert_array_equal(image, expected)


def test_a_file_that_fails_halfway_is_not_tried_again_on_its_own_remains(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    write_image(tmp_path / "in" / "a.png", Image(random_pixels((700, 700))))
    denoiser = Denoiser(make_hourglass("fp32"), "cpu", 1, tile_px=128)
    runs, run = [], denoiser._first._run

    def fails_once(batch, sigma=None, **options):
        runs.append(batch.shape)
        if len(runs) == 3:
            raise ModelError("the model returned 1 values that are NaN")
        return run(batch, sigma, **options)

    monkeypatch.setattr(denoiser._first, "_run", fails_once)
    (result,) = run_jobs(denoiser, plan(tmp_path / "in", tmp_path / "out"))
    assert "NaN" in result.error
    assert len(runs) == 3
    assert not (tmp_path / "out" / "a.png").exists()


def test_a_shortage_halfway_keeps_what_is_done(monkeypatch):
    denoiser = Denoiser(make_hourglass("int8"), "cpu", 1, tile_px=128)
    image = random_pixels((600, 500))
    expected = denoiser.denoise(image)
    runs, clean = [], open_model.Network._clean

    def runs_short(network, pixels, levels, cancel, ensemble):
        runs.append(pixels.shape)
        if len(runs) > 1 and pixels.shape[1] > 64:
            raise MemoryError
        return clean(network, pixels, levels, cancel, ensemble)

    monkeypatch.setattr(open_model.Network, "_clean", runs_short)
    np.testing.assert_array_equal(denoiser.denoise(image, overwrite_input=True), expected)
    assert sum(shape[1] > 64 for shape in runs) == 2  # after one failure all are smaller
