"""As few layers as possible stay in float to satisfy the gates; otherwise the model is refused with figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from dae_export.errors import GateError
from dae_export.graph.macs import count_macs, integer_nodes
from dae_export.measure.gates import Gate, loss_gates
from dae_export.measure.quality import Judgment, judge
from dae_export.measure.samples import Samples
from dae_export.precision import Ranges, quantize, quantize_within, round_weights
from dae_export.precision.sensitivity import nodes_of
from dae_export.rewrites import apply
from dae_export.rewrites.recipe import INTEGER_ROWS

MACS = {"conv_1": 72, "conv_2": 72}


def limits(drop_db: float, shift: float) -> Callable[[Judgment], Sequence[Gate]]:
    return partial(loss_gates, max_psnr_drop=drop_db, max_color_shift=shift)


LIMITS = limits(0.1, 0.5)


def coarse(ranges: Ranges, factor: float, *tensors: str) -> Ranges:
    """Widen the ranges of some tensors, which makes their steps coarse."""
    from onnxruntime.quantization import TensorData, TensorsData

    data = dict(ranges.values.items())
    for name in tensors:
        low, high = data[name].range_value
        data[name] = TensorData(lowest=np.float32(low * factor - factor), highest=np.float32(high * factor))
    return Ranges(TensorsData(ranges.values.calibration_method, data), ranges.method)


@pytest.fixture(scope="module")
def weights(blur_denoiser):
    return round_weights(blur_denoiser)


def test_a_good_model_is_quantized_completely(blur_denoiser, ranges, samples, weights):
    quantized = quantize_within(blur_denoiser, ranges, weights, samples, LIMITS, MACS)
    assert (quantized.float_layers, quantized.float_share) == ((), 0)
    assert quantized.judgment.drop_db <= 0.1


def test_the_sensitive_layer_stays_in_float(blur_denoiser, ranges, samples, weights):
    for tensor, layer in (("c2", "conv_2"), ("c1", "conv_1")):  # what the layer writes
        quantized = quantize_within(blur_denoiser, coarse(ranges, 30, tensor), weights, samples, LIMITS, MACS)
        assert (quantized.float_layers, quantized.float_share) == ((layer,), 0.5)
        assert quantized.judgment.drop_db <= 0.1
        assert integer_nodes(quantized.model) == set(MACS) - {layer}


def test_the_cheaper_layer_is_preferred_where_either_is_enough(blur_denoiser, ranges, samples, weights):
    damaged = coarse(ranges, 4, "c2", "c1")
    whole = quantize(blur_denoiser, damaged)
    drop = judge(blur_denoiser.SerializeToString(), whole.SerializeToString(), samples).drop_db
    for macs in ({"conv_1": 10, "conv_2": 30}, {"conv_1": 30, "conv_2": 10}):
        quantized = quantize_within(blur_denoiser, damaged, weights, samples, limits(drop * 0.95, 0.5), macs)
        assert quantized.float_share == 0.25


def test_no_more_than_half_of_the_arithmetic_stays_in_float(blur_denoiser, ranges, samples):
    with pytest.raises(GateError, match=r"With conv_1 in float \(49% of the arithmetic\) it still loses"):
        quantize_within(
            blur_denoiser,
            coarse(ranges, 30, "c2"),
            round_weights(blur_denoiser),
            samples,
            LIMITS,
            {"conv_1": 49, "conv_2": 51},
        )


@pytest.mark.parametrize("references", [True, False])
def test_a_model_that_loses_too_much_is_refused_with_the_figure(blur_denoiser, ranges, samples, references, weights):
    damaged = coarse(ranges, 100, "x", "c1", "a1", "c2")
    judging = samples if references else Samples(samples.calibration, samples.test, None, samples.source)
    lost = judge(blur_denoiser.SerializeToString(), quantize(blur_denoiser, damaged).SerializeToString(), judging).drop_db
    assert lost > 1
    with pytest.raises(GateError, match=f"{lost:.3f} dB.*--max-psnr-drop") as caught:
        quantize_within(blur_denoiser, damaged, weights, judging, limits(0.0, 1e9), MACS)
    assert ("estimated" in str(caught.value)) != references


def test_the_nodes_of_a_layer_are_all_that_rewrites_made_from_it() -> None:
    rng = np.random.default_rng(0)
    same = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1]}
    nodes = [
        helper.make_node("Transpose", ["noisy"], ["x"], "transpose_1", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["x", "w1"], ["c"], "conv_1", **same),
        helper.make_node("LeakyRelu", ["c"], ["a"], "leakyrelu_1", alpha=0.3),
        helper.make_node("ConvTranspose", ["a", "w2"], ["t"], "convtranspose_1", **same),
        helper.make_node("Sigmoid", ["t"], ["s"], "sigmoid_1"),
        helper.make_node("Transpose", ["s"], ["denoised"], "transpose_2", perm=[0, 2, 3, 1]),
    ]
    shapes = {"w1": (16, 1, 3, 3), "w2": (16, 1, 3, 3)}
    tensors = [numpy_helper.from_array(rng.standard_normal(s).astype(np.float32), n) for n, s in shapes.items()]
    edges = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", "h", "w", 1]) for n in ("noisy", "denoised")]
    graph = helper.make_graph(nodes, "g", edges[:1], edges[1:], tensors)
    model = apply(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), INTEGER_ROWS, 2)
    assert {name.split("/")[0] for name in count_macs(model, 8, 8)} == {"conv_1", "convtranspose_1"}
    names = [node.name for node in model.graph.node]
    first, last = nodes_of(model, ("conv_1",)), nodes_of(model, ("convtranspose_1",))
    assert set(first) | set(last) == set(names)
    assert any(name.startswith("conv_1/LeakyRelu") for name in first)
    assert "conv_1/Transpose_4" in first
    assert not set(first) & set(last)
    assert nodes_of(model, ()) == []


def test_the_estimate_applies_to_the_blur_denoiser(blur_denoiser):
    assert count_macs(blur_denoiser, 16, 16) == {name: n * 256 for name, n in MACS.items()}
