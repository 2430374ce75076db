"""Streams: in order, lazy, bounded, and whole up to the frame that fails."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import random_pixels
from dae_runtime import Denoiser, InputError, ModelError

DTYPES = (np.uint8, np.uint16, np.float32)


@given(
    kinds=st.lists(st.tuples(st.sampled_from([(4, 4), (5, 3), (4, 4, 3), (4, 4, 1)]), st.sampled_from(DTYPES)), max_size=12),
    batch_size=st.sampled_from([None, 1, 2, 5]),
)
@settings(max_examples=50, deadline=None)
def test_a_stream_keeps_order_shape_and_dtype(blur: Denoiser, kinds, batch_size):
    images = [random_pixels(shape, dtype, seed) for seed, (shape, dtype) in enumerate(kinds)]
    results = list(blur.stream(iter(images), batch_size=batch_size))
    assert len(results) == len(images)
    for image, result in zip(images, results, strict=True):
        assert result.dtype == image.dtype
        np.testing.assert_array_equal(result, blur.denoise(image))


@pytest.mark.parametrize(("batch_size", "ahead"), [(1, 1), (4, 4), (None, 256)])
def test_a_stream_is_lazy_and_bounded(blur: Denoiser, batch_size, ahead):
    taken = itertools.count()
    last = -1

    def images():
        nonlocal last
        for index in taken:  # without an end
            last = index
            yield np.zeros((4, 4), np.uint8)

    results = blur.stream(images(), batch_size=batch_size)
    assert last == -1
    for _ in range(10):
        next(results)
    assert last < 10 + ahead


def test_large_images_are_streamed_one_by_one(blur: Denoiser):
    taken = []

    def images():
        for index in range(3):
            taken.append(index)
            yield np.zeros((512, 512), np.uint8)

    next(blur.stream(images()))
    assert taken == [0]


@pytest.mark.parametrize("side", [8, 600])
@pytest.mark.parametrize("batch_size", [None, 1, 3])
def test_a_source_may_fill_one_buffer_again_and_again(blur: Denoiser, batch_size, side):
    """As readers of video do; large frames are not held, small ones are."""

    def frames():
        buffer = np.empty((side, side), np.uint8)
        for value in (0, 50, 100, 150, 200):
            buffer[:] = value
            yield buffer

    assert [int(clean[4, 4]) for clean in blur.stream(frames(), batch_size)] == [0, 50, 100, 150, 200]


def test_a_frame_that_is_not_held_is_not_copied(blur: Denoiser, monkeypatch):
    frame = np.zeros((600, 600), np.uint8)
    seen = []
    monkeypatch.setattr(blur, "denoise", lambda image, **_: seen.append(image) or image)
    for batch_size in (None, 1):
        list(blur.stream([frame] * 2, batch_size))
    assert all(image is frame for image in seen)


def frames_with_a_bad_one(bad, place=5, count=9):
    frames = [random_pixels((4, 4), np.float32, seed) for seed in range(count)]
    frames[place] = bad
    return frames


@pytest.mark.parametrize("batch_size", [None, 1, 3, 4])
@pytest.mark.parametrize(
    "bad", [np.full((4, 4), np.nan, np.float32), np.zeros((2, 4, 4, 1), np.float32), np.zeros((4, 4)), None]
)
def test_the_frames_before_a_bad_one_are_yielded(blur: Denoiser, bad, batch_size):
    frames = frames_with_a_bad_one(bad)
    results = []
    with pytest.raises(InputError, match=r"image 5 of the stream \(counted from 0\): "):
        results.extend(blur.stream(frames, batch_size))
    assert len(results) == 5
    for frame, clean in zip(frames, results, strict=False):
        np.testing.assert_array_equal(clean, blur.denoise(frame))


@pytest.mark.parametrize("batch_size", [None, 1, 4])
def test_the_frames_before_an_error_of_the_source_are_yielded(blur: Denoiser, batch_size):
    def frames():
        yield from frames_with_a_bad_one(None)[:5]
        raise OSError("the camera is gone")

    results = []
    with pytest.raises(OSError, match=r"^the camera is gone$"):
        results.extend(blur.stream(frames(), batch_size))
    assert len(results) == 5


@pytest.fixture(scope="module")
def overflowing(make_model) -> Denoiser:
    """A model that gives infinity for bright pixels and 0 for black ones."""
    return Denoiser(make_model(np.full((3, 3), 3e38, np.float32)), "cpu", 1)


@pytest.mark.parametrize("batch_size", [None, 1, 4])
def test_the_frames_before_one_that_the_model_fails_on_are_yielded(overflowing, batch_size):
    frames = [np.zeros((4, 4), np.uint8)] * 9
    frames[5] = np.full((4, 4), 255, np.uint8)
    results = []
    with pytest.raises(ModelError, match="image 5 of the stream"):
        results.extend(overflowing.stream(frames, batch_size))
    assert len(results) == 5


def test_streamed_results_own_their_memory(blur: Denoiser):
    first, second = blur.stream([np.zeros((4, 4), np.uint8)] * 2)
    assert first.base is None or first.base.size == first.size
    assert not np.shares_memory(first, second)


def test_a_stream_refuses_batches_and_bad_sizes(blur: Denoiser):
    with pytest.raises(InputError, match="single images"):
        list(blur.stream([np.zeros((2, 4, 4, 1), np.uint8)]))
    with pytest.raises(InputError, match="from 1 to"):
        blur.stream([], batch_size=0)
    with pytest.raises(InputError, match="must be an iterable of arrays, not 5"):
        blur.stream(5)
