"""Arrays through a denoiser: every shape and dtype comes back as it was."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import random_pixels
from dae_runtime import Contract, DaeError, Denoiser, InputError, ModelError
from dae_runtime.errors import CancelledError
from dae_runtime.inference.limits import Limits

DTYPES = (np.uint8, np.uint16, np.float32)


def blurred(image, kernel, alignment=4):
    """The blur that the tiny models compute, in plain numpy: (H, W) float in and out."""
    height, width = image.shape
    padded = np.pad(image, ((0, -height % alignment), (0, -width % alignment)), mode="reflect")
    padded = np.pad(padded, 1)
    return sum(kernel[dy, dx] * padded[dy : dy + height, dx : dx + width] for dy in range(3) for dx in range(3))


sizes = st.integers(1, 19)


shapes = st.one_of(
    st.tuples(sizes, sizes),
    st.tuples(sizes, sizes, st.integers(1, 4)),
    st.tuples(st.integers(1, 3), sizes, sizes, st.integers(1, 4)),
)


@given(shape=shapes, dtype=st.sampled_from(DTYPES), seed=st.integers(0, 9))
@settings(max_examples=80, deadline=None)
def test_any_shape_and_dtype_comes_back_as_it_was(identity: Denoiser, shape, dtype, seed):
    noisy = random_pixels(shape, dtype, seed)
    before = noisy.copy()
    clean = identity.denoise(noisy)
    assert clean.shape == shape
    assert clean.dtype == dtype
    assert clean.flags.c_contiguous
    assert clean.flags.writeable
    assert not np.shares_memory(clean, noisy)
    np.testing.assert_array_equal(noisy, before)
    np.testing.assert_array_equal(clean, noisy)


@given(shape=st.tuples(sizes, sizes), dtype=st.sampled_from(DTYPES))
@settings(max_examples=40, deadline=None)
def test_padding_is_by_reflection_and_rounding_to_nearest(blur: Denoiser, blur_kernel, shape, dtype):
    noisy = random_pixels(shape, dtype)
    white = 1 if dtype == np.float32 else np.iinfo(dtype).max
    expected = blurred(noisy.astype(np.float64) / white, blur_kernel) * white
    clean = blur.denoise(noisy).astype(np.float64)
    # Half a step of rounding, and a little for float32 arithmetic.
    np.testing.assert_allclose(clean, expected, atol=1e-6 if dtype == np.float32 else 0.5 + white * 1e-6)


def test_batches_equal_single_images(blur: Denoiser):
    batch = random_pixels((5, 11, 7, 3), np.uint8)
    np.testing.assert_array_equal(blur.denoise(batch), np.stack([blur.denoise(image) for image in batch]))


def test_a_batch_too_large_for_one_run_is_cut(blur_bytes):
    denoiser = Denoiser(blur_bytes, "cpu", 1)
    batch = random_pixels((7, 8, 8, 1), np.float32)
    whole = denoiser.denoise(batch)
    denoiser._first.limits = Limits(run_px=2 * 64, tile_px=None, tile_above_px=2**20)
    np.testing.assert_array_equal(denoiser.denoise(batch), whole)


def test_a_gray_model_takes_color_channel_by_channel(blur: Denoiser):
    image = random_pixels((9, 10, 3), np.uint8)
    channels = [blur.denoise(np.ascontiguousarray(image[..., channel])) for channel in range(3)]
    np.testing.assert_array_equal(blur.denoise(image), np.stack(channels, axis=-1))


@pytest.mark.parametrize("io_dtype", ["float32", "uint8"])
def test_a_color_model_takes_gray(make_model, blur: Denoiser, io_dtype):
    color = Denoiser(make_model(channels=3, alignment=4, io_dtype=io_dtype), "cpu", 1)
    image = random_pixels((9, 10), np.uint8)
    # One step where the blur falls half-way between two values and float32 arithmetic decides.
    np.testing.assert_allclose(color.denoise(image).astype(int), blur.denoise(image), atol=1)


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("dtype", DTYPES)
def test_alpha_is_passed_through(blur: Denoiser, channels, dtype):
    image = random_pixels((6, 5, channels), dtype)
    image[..., -1] = np.maximum(image[..., -1], np.finfo(dtype).tiny if dtype == np.float32 else 1)  # nothing is hidden
    clean = blur.denoise(image)
    np.testing.assert_array_equal(clean[..., -1], image[..., -1])
    np.testing.assert_array_equal(clean[..., :-1], blur.denoise(image[..., :-1]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_uint8_model_takes_every_dtype(make_model, identity_kernel, dtype):
    denoiser = Denoiser(make_model(identity_kernel, io_dtype="uint8", alignment=4), "cpu", 1)
    image = random_pixels((10, 6), dtype)
    white = 1 if dtype == np.float32 else np.iinfo(dtype).max
    step = white / 255
    np.testing.assert_allclose(denoiser.denoise(image).astype(float), image.astype(float), atol=step / 2 + white * 1e-6)


@pytest.mark.parametrize("shape", [(8, 12), (1, 1), (5, 3), (9, 12), (30, 41)])
def test_a_model_of_fixed_size_takes_any_size(make_model, identity_kernel, shape):
    denoiser = Denoiser(make_model(identity_kernel, alignment=4, size=(8, 12)), "cpu", 1)
    image = random_pixels((*shape, 3), np.uint8)
    np.testing.assert_array_equal(denoiser.denoise(image), image)
    as_float = random_pixels(shape, np.float32)
    np.testing.assert_allclose(denoiser.denoise(as_float), as_float, atol=1e-6)


def test_arrays_that_are_not_contiguous_native_or_writable(blur: Denoiser):
    image = random_pixels((12, 10), np.uint16)
    expected = blur.denoise(image)
    np.testing.assert_array_equal(blur.denoise(np.asfortranarray(image)), expected)
    np.testing.assert_array_equal(blur.denoise(image.astype(">u2")), expected)
    np.testing.assert_array_equal(blur.denoise(np.repeat(image, 2, axis=1)[:, ::2]), expected)
    image.flags.writeable = False
    np.testing.assert_array_equal(blur.denoise(image), expected)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (None, "received NoneType.*read_image"),
        ([None, 3], "received list"),
        (np.zeros((4, 4)), "float64.*astype"),
        (np.zeros((4, 4), np.int32), "int32"),
        (np.zeros((4, 4), bool), "bool"),
        (np.array([["a"]]), "<U1"),
        (np.zeros(4, np.uint8), r"\(4,\)"),
        (np.zeros((1, 1, 4, 4, 1), np.uint8), r"\(1, 1, 4, 4, 1\)"),
        (np.zeros((0, 4), np.uint8), r"\(0, 4\)"),
        (np.zeros((0, 4, 4, 1), np.uint8), r"\(0, 4, 4, 1\)"),
        (np.zeros((10, 28, 28), np.uint8), r"\(10, 28, 28\).*channel axis"),
        (np.zeros((2, 28, 28, 5), np.uint8), r"\(2, 28, 28, 5\)"),
        (np.array([[0.5, np.nan]], np.float32), "1 values that are NaN"),
        (np.array([[0.5, np.inf, -np.inf]], np.float32), "2 values"),
        (np.array([[0, 255]], np.float32), "0..1.*255"),
    ],
)
def test_unusable_arrays_are_refused_with_a_remedy(blur: Denoiser, image, words):
    with pytest.raises(InputError, match=words):
        blur.denoise(image)
    assert issubclass(InputError, ValueError)


def test_floats_beyond_black_and_white_reach_the_model_and_its_result_is_clipped(
    identity: Denoiser, blur: Denoiser, blur_kernel
):
    image = np.array([[-0.7, 1.9], [0.1, 0.2]], np.float32)
    np.testing.assert_array_equal(identity.denoise(image), np.clip(image, 0, 1))
    noisy = np.random.default_rng(0).normal(0.5, 1, (40, 50)).astype(np.float32)
    expected = blurred(noisy, blur_kernel)
    assert np.abs(expected - blurred(np.clip(noisy, 0, 1), blur_kernel)).max() > 0.1  # a clipped input would show
    np.testing.assert_allclose(blur.denoise(noisy), np.clip(expected, 0, 1), atol=1e-6)
    np.testing.assert_array_equal(blur.denoise(noisy, strength=0), noisy)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [None, (8, 12)])
@pytest.mark.parametrize("weight", [np.nan, 3e38, -3e38])
def test_a_model_that_returns_nan_is_an_error(make_model, dtype, size, weight):
    denoiser = Denoiser(make_model(np.full((3, 3), weight, np.float32), size=size), "cpu", 1)
    bright = np.full((20, 30), 1 if dtype == np.float32 else np.iinfo(dtype).max, dtype)
    with pytest.raises(ModelError, match=r"the model returned \d+ values that are NaN or infinite.*export it again"):
        denoiser.denoise(bright)


def test_an_8_bit_model_warns_once_of_lost_precision(make_model, caplog):
    content = make_model(io_dtype="uint8")
    for dtype in (np.uint16, np.float32):
        denoiser = Denoiser(content, "cpu", 1)
        denoiser.denoise(random_pixels((5, 6), np.uint8))
        assert caplog.records == []
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(denoiser.denoise, [random_pixels((5, 6), dtype)] * 8))
        (record,) = caplog.records
        assert record.name.startswith("dae_runtime")
        assert f"{np.dtype(dtype)} images are rounded" in record.getMessage()
        caplog.clear()


def test_a_float_model_keeps_16_bits_in_silence(identity: Denoiser, caplog):
    image = random_pixels((40, 50), np.uint16)
    np.testing.assert_array_equal(identity.denoise(image), image)
    assert caplog.records == []


def test_threads_share_one_denoiser(blur: Denoiser):
    images = [random_pixels((16, 16 + seed % 3), np.uint8, seed) for seed in range(40)]
    expected = [blur.denoise(image) for image in images]
    start = threading.Barrier(4)

    def work(part):
        start.wait(timeout=30)
        return [blur.denoise(image) for image in images[part::4]]

    with ThreadPoolExecutor(4) as pool:
        for part, results in enumerate(pool.map(work, range(4))):
            for result, right in zip(results, expected[part::4], strict=True):
                np.testing.assert_array_equal(result, right)


def test_closing(blur_bytes):
    with Denoiser(blur_bytes, "cpu") as denoiser:
        denoiser.denoise(np.zeros((4, 4), np.uint8))
    with pytest.raises(DaeError, match="closed"):
        denoiser.denoise(np.zeros((4, 4), np.uint8))
    denoiser.close()


def test_what_a_denoiser_tells(blur_bytes, blur_file):
    for model in (blur_bytes, bytearray(blur_bytes), blur_file, str(blur_file)):
        denoiser = Denoiser(model, device="auto", threads=1)
        assert denoiser.device.partition(":")[0] in ("cpu", "cuda")
        assert isinstance(denoiser.model, Contract)
        assert denoiser.model.alignment_px == 4
        assert "tiny" in repr(denoiser)


def test_an_unknown_name_lists_the_bundled_ones(tmp_path):
    with pytest.raises(ModelError, match=r"no-such-model.*bundled models"):
        Denoiser("no-such-model")
    with pytest.raises(ModelError, match="is a folder"):
        Denoiser(tmp_path)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("strength", [0.0, 0.25, 1.0])
def test_strength_is_the_share_of_the_change(blur: Denoiser, dtype, strength):
    image = random_pixels((9, 7, 4), dtype)
    received = blur.denoise(image, strength=strength)
    expected = image + strength * (blur.denoise(image).astype(np.float64) - image)
    np.testing.assert_allclose(received, expected, atol=1e-6 if dtype == np.float32 else 1)
    if strength == 0:
        np.testing.assert_array_equal(received, image)
    (streamed,) = blur.stream([image], strength=strength)
    np.testing.assert_array_equal(streamed, received)


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan"), "0.5", None])
def test_a_strength_outside_0_to_1_is_refused(blur: Denoiser, strength):
    with pytest.raises(InputError, match="strength must be a number from 0 to 1"):
        blur.denoise(np.zeros((4, 4), np.uint8), strength=strength)
    with pytest.raises(InputError, match="strength must be a number from 0 to 1"):
        blur.stream([], strength=strength)


def test_cancelling(blur_bytes):
    denoiser = Denoiser(blur_bytes, "cpu", 1, tile_px=64)
    asked = itertools.count()
    with pytest.raises(CancelledError):  # between the runs of one image
        denoiser.denoise(np.zeros((900, 900), np.uint8), cancel=lambda: next(asked) == 2)
    assert next(asked) == 3
    done = []
    stream = denoiser.stream(itertools.repeat(np.zeros((4, 4), np.uint8)), batch_size=1, cancel=lambda: len(done) == 5)
    for clean in stream:  # the source has no end
        done.append(clean)
    assert len(done) == 5
