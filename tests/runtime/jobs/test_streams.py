from __future__ import annotations

import io
import itertools
import os
from pathlib import Path

import numpy as np
import pytest

from builders import random_pixels
from dae_runtime import Denoiser, ImageError, InputError
from dae_runtime.images import decode, encode
from dae_runtime.inference.controls import Controls
from dae_runtime.jobs.streams import denoise_file_bytes, denoise_raw, parse_frame


class Drip(io.RawIOBase):
    """A stream that gives and takes odd amounts, as pipes do."""

    def __init__(self, content: bytes) -> None:
        self._rest, self._steps = io.BytesIO(content), itertools.cycle([1, 7, 1000, 3])

    def read(self, size=-1):
        return self._rest.read(min(size, next(self._steps)))


@pytest.mark.parametrize("shape", [(9, 7, 1), (6, 8, 3), (4, 5, 4)])
@pytest.mark.parametrize("ahead", [None, 1, 5])
def test_every_frame_comes_out_in_order(blur: Denoiser, shape, ahead):
    frames = random_pixels((13, *shape))
    target = io.BytesIO()
    assert denoise_raw(blur, Drip(frames.tobytes()), target, shape, ahead=ahead) == 13
    np.testing.assert_array_equal(np.frombuffer(target.getvalue(), np.uint8).reshape(frames.shape), blur.denoise(frames))


def test_a_stream_without_frames(blur: Denoiser):
    target = io.BytesIO()
    assert denoise_raw(blur, io.BytesIO(), target, (4, 4, 1)) == 0
    assert target.getvalue() == b""


def test_a_frame_that_is_cut_short_is_an_error_after_those_before_it(blur: Denoiser):
    frames, target = random_pixels((5, 6, 8, 3)), io.BytesIO()
    with pytest.raises(InputError, match="within frame 4: 100 of 144 bytes"):
        denoise_raw(blur, io.BytesIO(frames.tobytes()[: 4 * 144 + 100]), target, (6, 8, 3))
    np.testing.assert_array_equal(np.frombuffer(target.getvalue(), np.uint8).reshape(4, 6, 8, 3), blur.denoise(frames[:4]))


def test_frames_are_read_as_they_are_needed(blur: Denoiser):
    source = io.BytesIO(random_pixels((100, 4, 4, 1)).tobytes())

    class Target(io.BytesIO):
        def write(self, data):
            assert source.tell() <= 16 * (self.tell() // 16 + 1)  # no frame is read before the last one is written
            return super().write(data)

    denoise_raw(blur, source, Target(), (4, 4, 1), ahead=1)


def test_strength_of_frames(blur: Denoiser):
    frames, target = random_pixels((3, 6, 8, 1)), io.BytesIO()
    denoise_raw(blur, io.BytesIO(frames.tobytes()), target, (6, 8, 1), controls=Controls(strength=0))
    assert target.getvalue() == frames.tobytes()


def test_an_image_that_does_not_fit_into_memory(blur: Denoiser, monkeypatch):
    def full(*_, **__):
        raise MemoryError

    monkeypatch.setattr(blur, "denoise", full)
    with pytest.raises(InputError, match=r"^the image does not fit into memory\. Free memory"):
        denoise_file_bytes(blur, encode(np.zeros((9, 7), np.uint8), "png"))


@pytest.mark.parametrize("where", ["source", "denoiser"])
def test_frames_that_do_not_fit_into_memory(blur: Denoiser, monkeypatch, where):
    class Full(io.BytesIO):
        def read(self, size=-1):
            raise MemoryError

    def full(*_, **__):
        raise MemoryError

    source = Full() if where == "source" else io.BytesIO(bytes(100))
    if where == "denoiser":
        monkeypatch.setattr(blur, "denoise", full)
    with pytest.raises(
        InputError, match=r"frames of 5x4 with 3 channels, 60 bytes each, do not fit into memory\. Check the size"
    ):
        denoise_raw(blur, source, io.BytesIO(), (4, 5, 3))


def test_a_frame_that_no_machine_holds(blur: Denoiser):
    with Path(os.devnull).open("rb") as source, pytest.raises(InputError, match=r"999999x999999 with 4 channels.*memory"):
        denoise_raw(blur, source, io.BytesIO(), (999_999, 999_999, 4))


@pytest.mark.parametrize(("text", "shape"), [("640x480x3", (480, 640, 3)), ("5x4", (4, 5, 1)), ("1x1x4", (1, 1, 4))])
def test_the_size_of_a_frame(text, shape):
    assert parse_frame(text) == (shape, np.uint8)
    if text.count("x") == 2:
        assert parse_frame(f"{text}x8") == (shape, np.uint8)
        assert parse_frame(f"{text}x16") == (shape, np.uint16)


@pytest.mark.parametrize("shape", [(9, 7, 1), (4, 5, 4)])
def test_frames_of_16_bits(blur: Denoiser, shape):
    frames = random_pixels((3, *shape), np.uint16)
    target = io.BytesIO()
    assert denoise_raw(blur, io.BytesIO(frames.astype("<u2").tobytes()), target, shape, dtype=np.uint16) == 3
    expected = np.stack([blur.denoise(frame) for frame in frames])
    np.testing.assert_array_equal(np.frombuffer(target.getvalue(), "<u2").reshape(expected.shape), expected)
    with pytest.raises(InputError, match="16 bits"):
        denoise_raw(blur, io.BytesIO(b"odd"), target, shape, dtype=np.uint16)


@pytest.mark.parametrize("text", ["", "640", "0x4", "4x4x5", "4x4x0", "4,4", "-4x4", "4x4x3x1", "9999999x1"])
def test_sizes_that_are_none(text):
    with pytest.raises(InputError, match="1920x1080x3"):
        parse_frame(text)


@pytest.mark.parametrize("kind", ["png", "tiff", "bmp", "pnm"])
def test_an_image_file_as_bytes(blur: Denoiser, kind):
    pixels = random_pixels((9, 7))
    data = encode(pixels, kind)
    for wanted in (None, "png"):
        clean = decode(denoise_file_bytes(blur, data, wanted))
        assert clean.kind == (wanted or kind)
        np.testing.assert_array_equal(clean.pixels, blur.denoise(pixels))


def test_the_kinds_of_a_portable_map(blur: Denoiser):
    data = encode(random_pixels((9, 7)), "png")
    assert denoise_file_bytes(blur, data, "pgm")[:2] == denoise_file_bytes(blur, data, "pnm")[:2] == b"P5"
    assert denoise_file_bytes(blur, data, "ppm")[:2] == b"P6"


def test_bytes_that_are_not_an_image(blur: Denoiser):
    with pytest.raises(ImageError, match="the image: the content is no PNG"):
        denoise_file_bytes(blur, os.urandom(4) + b"junk")
    with pytest.raises(ImageError, match="exceed the limit"):
        denoise_file_bytes(blur, encode(np.zeros((9, 7), np.uint8), "png"), max_pixels=62)
