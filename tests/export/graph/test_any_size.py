"""Models that take any size in a plain onnxruntime session: bundled and exported ones."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from dae_export.graph.any_size import remove_padding, take_any_size
from dae_export.graph.model import Graph
from dae_runtime import Denoiser
from dae_runtime.models import bundled_models

SIZES = [(1, 1), (2, 3), (17, 481), (48, 33), (64, 64)]


@pytest.mark.parametrize("name", sorted(bundled_models()))
def test_an_onnxruntime_session_takes_any_size_and_equals_the_denoiser(name):
    path = bundled_models()[name]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    with Denoiser(path, "cpu") as denoiser:
        assert denoiser.model.any_size
        for height, width in SIZES:
            noisy = random.random((2, height, width, denoiser.model.channels), np.float32)
            told = {} if denoiser.model.sigma is None else {"sigma": np.full((2, 1), 0.05, np.float32)}
            received = session.run(None, {"noisy": noisy, **told})[0]
            assert received.shape == noisy.shape
            if min(height, width) >= denoiser.model.alignment_px:
                assert np.array_equal(np.clip(received, 0, 1), denoiser.denoise(noisy, sigma=0.05 if told else None)), (
                    height,
                    width,
                )


def test_padding_changes_no_aligned_image_and_can_be_removed(blur_denoiser, run_onnx):
    model = take_any_size(blur_denoiser, 4)
    noisy = np.random.default_rng(0).random((1, 8, 12, 1), np.float32)
    assert np.array_equal(run_onnx(model, noisy), run_onnx(blur_denoiser, noisy))
    whole = run_onnx(blur_denoiser, np.pad(noisy, ((0, 0), (0, 1), (0, 1), (0, 0)), mode="reflect")[:, :-1, :-1])
    assert run_onnx(model, noisy[:, :7, :9]).shape == (1, 7, 9, 1)
    assert whole.shape == noisy.shape
    bare = Graph(model)
    remove_padding(bare)
    assert bare.kinds() == Graph(blur_denoiser).kinds()
    assert take_any_size(blur_denoiser, 1) is blur_denoiser


def test_what_is_missing_is_reflected(blur_denoiser, run_onnx):
    noisy = np.random.default_rng(0).random((2, 7, 9, 1), np.float32)
    padded = np.pad(noisy, ((0, 0), (0, 1), (0, 3), (0, 0)), mode="reflect")
    expected = run_onnx(blur_denoiser, padded)[:, :7, :9]
    assert np.array_equal(run_onnx(take_any_size(blur_denoiser, 4), noisy), expected)
