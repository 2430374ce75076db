"""The parity check: equal models pass, others fail with the difference."""

from __future__ import annotations

import numpy as np
import pytest

from dae_export.errors import ParityError
from dae_export.measure.parity import check_parity, noisy_images, parity_shapes
from dae_runtime.contract import ImageSpec

SHAPES = parity_shapes(ImageSpec(1, 2))


def test_several_batches_and_sizes_are_compared():
    assert {shape[0] for shape in SHAPES} == {1, 2, 5}
    assert all(shape[1] % 2 == shape[2] % 2 == 0 for shape in SHAPES)
    assert (1, 2, 2, 1) in SHAPES
    assert any((shape[1] // 2) % 2 and (shape[2] // 2) % 2 for shape in SHAPES)
    assert any(shape[1] != shape[2] for shape in SHAPES)
    assert parity_shapes(ImageSpec(3, fixed_size=(28, 20))) == ((1, 28, 20, 3), (2, 28, 20, 3), (5, 28, 20, 3))


def test_the_images_are_noisy_and_in_range():
    images = noisy_images((3, 16, 24, 2))
    assert images.shape == (3, 16, 24, 2)
    assert images.dtype == np.float32
    assert images.min() == 0
    assert images.max() == 1
    assert images[1].std() > 0.1
    np.testing.assert_array_equal(images, noisy_images((3, 16, 24, 2)))


def test_equal_functions_pass_with_their_error(blur_denoiser, run_onnx):
    parity = check_parity(blur_denoiser.SerializeToString(), lambda x: run_onnx(blur_denoiser, x), SHAPES, 1e-5)
    assert 0 <= parity.max_abs_error <= 1e-5
    assert (parity.tolerance, parity.shapes) == (1e-5, SHAPES)


def test_a_difference_in_one_pixel_of_one_case_is_refused_with_its_size(blur_denoiser, run_onnx):
    def other(noisy: np.ndarray) -> np.ndarray:
        expected = run_onnx(blur_denoiser, noisy).copy()
        if noisy.shape[0] == 5:
            expected[4, -1, -1] += 0.0125
        return expected

    with pytest.raises(ParityError, match=r"0\.0125 on images of shape \(5, 8, 12, 1\)"):
        check_parity(blur_denoiser.SerializeToString(), other, SHAPES, 1e-5)
    assert check_parity(blur_denoiser.SerializeToString(), other, SHAPES, 0.02).max_abs_error == pytest.approx(
        0.0125, abs=1e-5
    )


def test_values_that_are_not_finite_are_refused(blur_denoiser):
    with pytest.raises(ParityError, match="not finite"):
        check_parity(blur_denoiser.SerializeToString(), lambda x: x * np.nan, SHAPES)


def test_a_graph_that_cannot_run_at_every_size_is_refused(blur_denoiser, run_onnx):
    fixed = type(blur_denoiser)()
    fixed.CopyFrom(blur_denoiser)
    fixed.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 6
    with pytest.raises(ParityError, match="depends on the image size"):
        check_parity(fixed.SerializeToString(), lambda x: run_onnx(blur_denoiser, x), SHAPES)
