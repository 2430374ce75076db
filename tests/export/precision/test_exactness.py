"""Integer sums that no processor saturates: the static check, an emulated saturating kernel, and rounding within the limit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import dae_export
from dae_export import GateError
from dae_export.graph.model import Graph
from dae_export.precision import int8
from dae_export.precision.exactness import (
    as_rows,
    check_sums,
    describe_sums,
    from_rows,
    is_exact,
    neighbors,
    require_exact,
    worst_row_sums,
)
from dae_export.precision.int8 import quantize
from dae_export.precision.integer_weights import round_rows, round_weights
from dae_export.precision.scales import near_halves
from dae_runtime.contract import EXACT_PAIR_LIMIT
from dae_runtime.errors import ModelError
from dae_runtime.models import bundled_models

pytestmark = pytest.mark.slow
OLD_COLOR = Path(__file__).parents[2] / "data/color-version-1.onnx"
"""An old bundled `color`, whose sums can exceed 16 bits."""
SHAPES = [
    ("Conv", (8, 16, 3, 3), 1),
    ("Conv", (8, 3, 3, 3), 1),
    ("Conv", (8, 1, 5, 5), 1),
    ("Conv", (8, 4, 3, 3), 4),
    ("Conv", (8, 1, 3, 3), 8),
    ("MatMul", (24, 8), 1),
    ("Gemm", (25, 8), 1),
]


def cut_off(rows: np.ndarray, inputs: np.ndarray, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums of unsigned inputs times signed weights as a kernel of 16-bit pairs gives them, and the exact ones."""
    products = inputs[:, None, :].astype(np.int64) * rows[None].astype(np.int64)
    exact = products.sum(2)
    sums = products[..., pairs[:, 0]] + products[..., pairs[:, 1]]
    return exact + (np.clip(sums, -(2**15), 2**15 - 1) - sums).sum(2), exact


def integer_layers(path: Path) -> list[tuple[onnx.NodeProto, np.ndarray]]:
    graph = Graph(onnx.load(path))
    nodes = [(node, graph.producer(node.input[1])) for node in graph.nodes if node.op_type == "Conv"]
    return [(node, graph.constants[maker.input[0]]) for node, maker in nodes if maker is not None]


def worst_inputs(rows: np.ndarray) -> np.ndarray:
    """Return the inputs that drive the sum of each channel highest and lowest, and white."""
    return np.concatenate([np.where(rows > 0, 255, 0), np.where(rows < 0, 255, 0), np.full((1, rows.shape[1]), 255)])


@pytest.mark.parametrize("name", sorted(bundled_models()))
def test_no_bundled_model_depends_on_the_processor(name):
    path = bundled_models()[name]
    layers = check_sums(path)
    assert len(layers) >= 8
    assert max(layer.worst for layer in layers) <= EXACT_PAIR_LIMIT
    assert is_exact(path)
    assert near_halves(path) == []
    for node, weights in integer_layers(path):
        rows, pairs = as_rows(weights.astype(np.int64), node), neighbors(weights.shape, node)
        received, exact = cut_off(rows, worst_inputs(rows), pairs)
        assert np.array_equal(received, exact), node.name


def test_the_old_color_model_fails_the_check_and_the_emulation():
    layers = check_sums(OLD_COLOR)
    failing = [layer for layer in layers if not layer.exact]
    assert len(failing) == len(layers) == 19
    lines = list(describe_sums(layers))
    assert "not exact on every processor: 19 of 19" in lines[0]
    assert "conv_12" in lines[1]
    assert "249" in lines[1]
    assert near_halves(OLD_COLOR)
    for node, weights in integer_layers(OLD_COLOR):
        rows, pairs = as_rows(weights.astype(np.int64), node), neighbors(weights.shape, node)
        received, exact = cut_off(rows, worst_inputs(rows), pairs)
        assert not np.array_equal(received, exact), node.name


def test_a_float_model_is_not_called_exact():
    (line,) = describe_sums([])
    assert line.startswith("no integer layers: a float model")


@pytest.mark.parametrize(("kind", "shape", "group"), SHAPES)
def test_rows_are_weights_in_another_order(kind, shape, group):
    node = helper.make_node(kind, ["x", "w"], ["y"], **({"group": group} if kind == "Conv" else {}))
    weights = np.arange(np.prod(shape)).reshape(shape)
    rows = as_rows(weights, node)
    assert rows.shape == (8, weights.size // 8)
    assert np.array_equal(from_rows(rows, shape, node), weights)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(SHAPES), st.integers(0, 2**32 - 1), st.sampled_from([0.3, 1.0, 4.0]))
def test_rounded_weights_obey_the_limit_and_stay_close(layer, seed, tail):
    kind, shape, group = layer
    node = helper.make_node(kind, ["x", "w"], ["y"], **({"group": group} if kind == "Conv" else {}))
    random = np.random.default_rng(seed)
    rows = np.asarray(as_rows(np.sign(random.normal(size=shape)) * np.abs(random.normal(size=shape)) ** tail, node), float)
    rows[:, 0] = 0
    pairs = neighbors(shape, node)
    samples = np.abs(random.normal(size=(500, rows.shape[1]))) @ random.normal(size=(rows.shape[1],) * 2)
    for moment in (None, samples.T @ samples / 500):
        values, scales = round_rows(rows, pairs, moment)
        assert worst_row_sums(values, pairs).max() <= EXACT_PAIR_LIMIT
        assert np.abs(values).max() <= 127
        assert not values[:, 0].any()  # what is 0 stays 0: the reach of the network must not grow
        received, exact = cut_off(values, worst_inputs(values), pairs)
        assert np.array_equal(received, exact)
        if moment is None:
            assert np.abs(values * scales[:, None] - rows).max() <= 0.5 * np.abs(rows).max()


def test_rounding_by_the_inputs_changes_the_output_less():
    random = np.random.default_rng(0)
    rows = random.normal(size=(16, 288))
    inputs = np.maximum(random.normal(size=(4000, 40)) @ random.normal(size=(40, 288)), 0)
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    pairs = neighbors((16, 32, 3, 3), node)
    errors = []
    for moment in (None, inputs.T @ inputs / len(inputs)):
        values, scales = round_rows(rows, pairs, moment)
        errors.append(np.square(inputs @ (values * scales[:, None] - rows).T).mean())
    assert errors[1] < 0.5 * errors[0]


def test_the_pairs_are_those_of_the_inner_dimension():
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    assert neighbors((1, 4, 1, 1), node).tolist() == [[0, 1], [2, 3]]
    assert neighbors((1, 3, 1, 2), node).tolist() == [[0, 1], [2, 3], [3, 4], [4, 5]]
    depthwise = helper.make_node("Conv", ["x", "w"], ["y"], group=4)
    assert neighbors((4, 1, 1, 3), depthwise).tolist() == [[0, 1], [0, 2], [1, 2]]
    assert neighbors((6, 2), helper.make_node("MatMul", ["x", "w"], ["y"])).tolist() == [[0, 1], [2, 3], [4, 5]]
    assert neighbors((2, 6), helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)).tolist() == [[0, 1], [2, 3], [4, 5]]


def test_a_quantized_model_is_exact_and_files_of_other_exporters_are_checked(blur_denoiser, ranges):
    assert is_exact(quantize(blur_denoiser, ranges))
    assert check_sums(blur_denoiser) == []
    assert is_exact(blur_denoiser)
    weights = numpy_helper.from_array(np.full((1, 2, 1, 1), 100, np.int8), "w")
    inputs = ["x", "s", "z", "w", "s", "z8", "s", "z"]
    node = helper.make_node("QLinearConv", inputs, ["y"], "layer")
    values = [helper.make_tensor_value_info(name, TensorProto.UINT8, [1, 2, 4, 4]) for name in ("x", "y")]
    model = helper.make_model(helper.make_graph([node], "g", values[:1], values[1:], [weights]))
    assert [(layer.worst, layer.channels) for layer in check_sums(model.SerializeToString())] == [(200, 1)]
    computed = helper.make_model(helper.make_graph([helper.make_node("MatMulInteger", ["x", "v"], ["y"])], "g", [], []))
    assert not is_exact(computed)
    with pytest.raises(ModelError, match="cannot be read as ONNX"):
        check_sums(b"no model")


def test_a_model_that_is_not_exact_is_an_error_that_names_the_layer_also_under_o():
    with pytest.raises(GateError, match=r"weights of .* \(Conv\) sum to 249, expected at most 128 \(19 layers exceed it\)"):
        require_exact(onnx.load(OLD_COLOR))
    code = (
        "import sys, onnx; from dae_export import GateError; from dae_export.precision import require_exact\n"
        "try: require_exact(onnx.load(sys.argv[1]))\nexcept GateError: print(__debug__)"
    )
    finished = subprocess.run([sys.executable, "-O", "-c", code, OLD_COLOR], capture_output=True, text=True, check=True)
    assert finished.stdout == "False\n"


def test_a_missing_integer_layer_stops_the_quantization(blur_denoiser, ranges, monkeypatch):
    monkeypatch.setattr(int8, "put_weights", lambda *_: None)
    with pytest.raises(GateError, match="not exact on every processor"):
        quantize(blur_denoiser, ranges)


def test_a_quantized_model_can_be_rounded_again(blur_denoiser, ranges, samples):
    model = quantize(blur_denoiser, ranges)
    again = round_weights(model, samples.calibration)
    assert len(again) == 2
    assert all(len(weights.scales) == len(weights.values) for weights in again.values())


def test_the_check_is_public():
    assert {"check_sums", "is_exact", "convert_file"} <= set(dae_export.__all__)
