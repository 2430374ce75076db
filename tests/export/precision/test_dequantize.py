"""An INT8 graph in float32 is the same function, without the rounding of activations."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from dae_export import ConversionError
from dae_export.precision import quantize, to_float32, to_uint8
from dae_runtime.models import bundled_models


def test_it_differs_from_the_network_by_its_8_bit_weights_alone(blur_denoiser, ranges, run_onnx, pictures):
    integer = quantize(blur_denoiser, ranges)
    model = to_float32(integer)
    kinds = {node.op_type for node in model.graph.node}
    assert kinds.isdisjoint({"QuantizeLinear", "DequantizeLinear", "Identity"})
    noisy, _ = pictures(4, 32, seed=2)
    fp32, int8, back = (run_onnx(m, noisy) for m in (blur_denoiser, integer, model))
    assert np.abs(back - fp32).max() < np.abs(int8 - fp32).max() / 2
    assert np.abs(back - fp32).max() < 0.01


def test_what_the_integers_cut_off_stays_cut_off(blur_denoiser, ranges, run_onnx):
    """A ReLU may be left to the zero point of the tensor after it, so a bound is part of the function."""
    model = to_float32(quantize(blur_denoiser, ranges))
    bright = np.full((1, 8, 8, 1), 5, np.float32)
    assert run_onnx(model, bright).max() == pytest.approx(run_onnx(quantize(blur_denoiser, ranges), bright).max(), abs=0.01)
    assert run_onnx(blur_denoiser, bright).max() > 4


def test_a_bound_stands_once_for_tensors_that_only_move():
    model = onnx.load(bundled_models()["gray"])
    steps = sum(node.op_type == "QuantizeLinear" for node in model.graph.node)
    bounds = sum(node.op_type == "Clip" for node in to_float32(model).graph.node)
    assert 0 < bounds < steps


def test_8_bit_edges_are_refused(blur_denoiser, ranges):
    with pytest.raises(ConversionError, match="--io float32"):
        to_float32(to_uint8(quantize(blur_denoiser, ranges), "int8"))


def test_arithmetic_on_bytes_is_refused(blur_denoiser, ranges):
    model = quantize(blur_denoiser, ranges)
    step = next(node for node in model.graph.node if node.op_type == "DequantizeLinear" and node.input[0].startswith("noisy"))
    step.input[1] = next(n for n in (i.name for i in model.graph.initializer) if n.endswith("scale") and n != step.input[1])
    with pytest.raises(ConversionError):
        to_float32(model)
