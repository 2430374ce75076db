"""Windows of a fixed size: no seam, little memory, results in range."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest

from dae_runtime import Denoiser
from dae_runtime.errors import CancelledError


@pytest.fixture(scope="module")
def window_blur(make_model) -> Denoiser:
    """A blur that takes windows of 28 x 28 only, and darkens their edges, where it sees zeros."""
    return Denoiser(make_model(size=(28, 28)), "cpu", 1)


@pytest.mark.parametrize("size", [(28, 100), (100, 90), (29, 300), (141, 57)])
def test_windows_of_a_fixed_size_leave_no_seam(window_blur, blur, size):
    down, across = np.meshgrid(np.linspace(0, 5, size[0]), np.linspace(0, 7, size[1]), indexing="ij")
    smooth = (0.5 + 0.4 * np.sin(down) * np.cos(across)).astype(np.float32)
    half_a_step = 0.5 / 255  # invisible in an 8-bit picture
    for image in (np.full(size, 0.8, np.float32), smooth):
        inside = (window_blur.denoise(image) - blur.denoise(image))[1:-1, 1:-1]
        assert np.abs(inside).max() < half_a_step


def test_windows_need_no_memory_for_the_whole_image_in_float(window_blur):
    image = np.random.default_rng(0).integers(0, 256, (6000, 300), np.uint8)
    window_blur.denoise(image[:100])
    tracemalloc.start()
    window_blur.denoise(image)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < image.nbytes + 2**20


@pytest.mark.parametrize("shape", [(40, 3000), (40, 3000, 3), (2000, 3, 3, 1), (90, 60, 20, 3), (300, 28, 28, 3)])
def test_a_memory_limit_decides_the_number_of_windows(record_shapes, make_model, window_blur, shape):
    limited = Denoiser(make_model(size=(28, 28)), "cpu", 1, max_memory_mb=10)
    most = limited._first.limits.run_px // 28**2
    assert 1 < most <= 0.4 * 10 * 2**20 / 256 / 28**2  # the lower bound of the need per pixel
    shapes = record_shapes(limited)
    image = np.random.default_rng(0).random(shape, np.float32)
    np.testing.assert_allclose(limited.denoise(image), window_blur.denoise(image), atol=1e-6)
    assert max(batch[0] for batch in shapes) <= most
    assert sum(batch[0] for batch in shapes) > most


def test_windows_results_stay_within_black_and_white(window_blur):
    clean = window_blur.denoise(np.full((200, 190, 3), 1.5, np.float32))
    assert clean.max() == 1


def test_cancelling_windows(window_blur):
    asked = itertools.count()
    with pytest.raises(CancelledError):
        window_blur.denoise(np.zeros((6000, 30), np.uint8), cancel=lambda: next(asked) == 5)
    assert next(asked) == 6
