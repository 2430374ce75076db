"""A graph whose images are N x C x H x W computes the same."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from dae_export.graph.any_size import take_any_size
from dae_export.graph.nchw import take_nchw
from dae_runtime.models import bundled_models

SIZES = ((1, 1), (1, 7), (33, 50), (64, 64))


def run(model: onnx.ModelProto, noisy: np.ndarray) -> np.ndarray:
    levels = {"sigma": np.linspace(0.01, 0.05, len(noisy), dtype=np.float32)[:, None]}
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"noisy": noisy, **(levels if len(session.get_inputs()) == 2 else {})})[0]


def graph(nodes: list[onnx.NodeProto], channels: int = 3, **constants: np.ndarray) -> onnx.ModelProto:
    """A graph of N x H x W x C from `noisy` to `denoised`."""
    edges = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", "h", "w", channels]) for n in ("noisy", "denoised")]
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    whole = helper.make_graph(nodes, "test", edges[:1], edges[1:], tensors)
    return helper.make_model(whole, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def transposes(model: onnx.ModelProto) -> int:
    return sum(node.op_type == "Transpose" for node in model.graph.node)


@pytest.mark.parametrize("path", bundled_models().values(), ids=lambda path: path.stem)
def test_every_bundled_model_gives_the_same_bits(path):
    model = onnx.load(path)
    other = take_nchw(model)
    assert transposes(other) <= transposes(model)
    channels = other.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    for height, width in SIZES:
        noisy = np.random.default_rng(0).random((2, height, width, channels), np.float32)
        received = run(other, np.ascontiguousarray(noisy.transpose(0, 3, 1, 2)))
        assert received.shape == (2, channels, height, width)
        assert np.array_equal(received.transpose(0, 2, 3, 1), run(model, noisy))


@pytest.mark.parametrize("alignment", [1, 4])
def test_a_canonical_graph_is_left_without_a_transpose(blur_denoiser, alignment):
    model = take_any_size(blur_denoiser, alignment)
    other = take_nchw(model)
    assert transposes(other) == 0
    noisy = np.random.default_rng(0).random((1, 5, 6, 1), np.float32)
    assert np.array_equal(run(other, noisy.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1), run(model, noisy))


GAIN = np.float32([[[[0.5, 1, 2]]]])


@pytest.mark.parametrize(
    "nodes",
    [
        [helper.make_node("Identity", ["noisy"], ["denoised"])],
        [helper.make_node("Mul", ["noisy", "gain"], ["denoised"])],  # a factor per channel is the last axis of N, H, W, C
        [helper.make_node("Mul", ["noisy", "gain"], ["x"]), helper.make_node("Add", ["x", "noisy"], ["denoised"])],
        [helper.make_node("Softmax", ["noisy"], ["denoised"], axis=3)],
        [helper.make_node("Transpose", ["noisy"], ["x"], perm=[0, 2, 1, 3]), helper.make_node("Relu", ["x"], ["denoised"])],
    ],
    ids=["identity", "gain", "sum", "softmax", "sides"],
)
def test_a_node_for_which_channels_are_not_alike_reads_them_in_its_order(nodes):
    used = {name for node in nodes for name in node.input}
    model = graph([*nodes], **({"gain": GAIN} if "gain" in used else {}))
    noisy = np.random.default_rng(0).random((2, 4, 4, 3), np.float32)
    received = run(take_nchw(model), np.ascontiguousarray(noisy.transpose(0, 3, 1, 2)))
    np.testing.assert_allclose(received.transpose(0, 2, 3, 1), run(model, noisy), atol=1e-6)


def test_the_model_is_not_changed(blur_denoiser):
    before = blur_denoiser.SerializeToString(deterministic=True)
    take_nchw(blur_denoiser)
    assert blur_denoiser.SerializeToString(deterministic=True) == before
