"""FP16: everything inside becomes half, nothing else changes, and the function stays the same up to rounding."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from dae_export.errors import ConversionError
from dae_export.precision import to_float16
from dae_export.precision.fp16 import LARGEST, SMALLEST
from dae_runtime.engine.session import open_session

Constants = dict[str, Any]

TO_NCHW = helper.make_node("Transpose", ["noisy"], ["x"], perm=[0, 3, 1, 2])
TO_NHWC = helper.make_node("Transpose", ["y"], ["denoised"], perm=[0, 2, 3, 1])


def node(kind: str, inputs: str, output: str = "y", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(","), [output], f"make_{output}", **attributes)


def model_of(
    nodes: list[onnx.NodeProto], constants: Constants | None = None, channels: int = 2, opset: int = 18
) -> onnx.ModelProto:
    """Return a model that turns x, (N, C, H, W), into y by `nodes`."""
    edges = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", "H", "W", channels]) for name in ("noisy", "denoised")
    ]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()]
    graph = helper.make_graph([TO_NCHW, *nodes, TO_NHWC], "net", edges[:1], edges[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    fan = np.prod(shape[1:]) if len(shape) > 1 else 4
    return (np.random.default_rng(seed).standard_normal(shape) / np.sqrt(fan)).astype(np.float32)


def run(model: onnx.ModelProto, noisy: np.ndarray) -> np.ndarray:
    return open_session(model.SerializeToString(), "cpu", 1).run(None, {"noisy": noisy})[0]


def float_tensors(model: onnx.ModelProto) -> set[str]:
    """Return the float32 tensors inside a model, computed or constant."""
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    computed = {value.name for value in inferred.value_info if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    return computed | {t.name for t in model.graph.initializer if t.data_type == TensorProto.FLOAT}


INT = np.int64
OPERATORS: dict[str, tuple[list[onnx.NodeProto], Constants]] = {
    "Conv": ([node("Conv", "x,w,b", pads=[1] * 4)], {"w": weights(2, 2, 3, 3), "b": weights(2)}),
    "ConvTranspose": ([node("ConvTranspose", "x,w", pads=[1] * 4)], {"w": weights(2, 2, 3, 3)}),
    "LeakyRelu": ([node("LeakyRelu", "x", alpha=0.3)], {}),
    "Relu": ([node("Relu", "x")], {}),
    "Sigmoid": ([node("Sigmoid", "x")], {}),
    "PRelu": ([node("PRelu", "x,slope")], {"slope": weights(2, 1, 1)}),
    "Softmax": ([node("Softmax", "x", axis=1)], {}),
    "Add and Mul": ([node("Mul", "x,w", "p"), node("Add", "p,x")], {"w": weights(2, 1, 1)}),
    "Clip": ([node("Clip", "x,low,high")], {"low": np.float32(0.2), "high": np.float32(0.7)}),
    "BatchNormalization": (
        [node("BatchNormalization", "x,g,b,m,v")],
        {"g": weights(2), "b": weights(2), "m": weights(2), "v": np.abs(weights(2)) + 1},
    ),
    "InstanceNormalization": ([node("InstanceNormalization", "x,g,b")], {"g": weights(2), "b": weights(2)}),
    "Concat and Slice": (
        [node("Concat", "x,x", "c", axis=1), node("Slice", "c,from,to,axes")],
        {"from": np.array([1], INT), "to": np.array([3], INT), "axes": np.array([1], INT)},
    ),
    "DepthToSpace": ([node("SpaceToDepth", "x", "s", blocksize=2), node("DepthToSpace", "s", blocksize=2)], {}),
    "Resize by scales": (
        [node("MaxPool", "x", "p", kernel_shape=[2, 2], strides=[2, 2]), node("Resize", "p,,scales", mode="linear")],
        {"scales": np.array([1, 1, 2, 2], np.float32)},
    ),
    "AveragePool": ([node("AveragePool", "x", kernel_shape=[3, 3], pads=[1] * 4)], {}),
    "GlobalAveragePool": ([node("GlobalAveragePool", "x", "m"), node("Add", "m,x")], {}),
    "ReduceMean": ([node("ReduceMean", "x,axes", "m"), node("Add", "m,x")], {"axes": np.array([1], INT)}),
    "Pad": (
        [node("Pad", "x,pads", "p"), node("AveragePool", "p", kernel_shape=[3, 3])],
        {"pads": np.array([0, 0, 1, 1, 0, 0, 1, 1], INT)},
    ),
    "MatMul": (
        [
            node("Reshape", "x,flat", "f"),
            node("MatMul", "w,f", "m"),
            node("Shape", "x", "shape"),
            node("Reshape", "m,shape"),
        ],
        {"flat": np.array([0, 2, -1], INT), "w": weights(2, 2)},
    ),
    "Gemm": (
        [
            node("GlobalAveragePool", "x", "m"),
            node("Reshape", "m,flat", "f"),
            node("Gemm", "f,w,b", "g"),
            node("Reshape", "g,square", "s"),
            node("Mul", "s,x"),
        ],
        {"flat": np.array([0, 2], INT), "square": np.array([0, 2, 1, 1], INT), "w": weights(2, 2), "b": weights(2)},
    ),
    "Where and Greater": (
        [node("Greater", "x,t", "g"), node("Where", "g,x,t")],
        {"t": np.float32(0.5)},
    ),
    "Cast from a mask": (
        [node("Greater", "x,t", "g"), node("Cast", "g", "m", to=TensorProto.FLOAT), node("Mul", "m,x")],
        {"t": np.float32(0.25)},
    ),
    "a computed shape": (
        [
            node("Shape", "x", "shape"),
            node("ConstantOfShape", "shape", "zeros"),
            node("Add", "zeros,x"),
        ],
        {},
    ),
    "a Constant node": (
        [node("Constant", "", "c", value_float=0.5), node("Mul", "c,x")],
        {},
    ),
}
OPERATORS["a Constant node"][0][0].ClearField("input")
STAYS_FLOAT = {"Resize by scales": {"scales"}, "a Constant node": {"c"}}
"""What ONNX does not let be half."""


@pytest.mark.parametrize("name", OPERATORS)
def test_any_operator_keeps_its_function_and_holds_no_float32(name):
    nodes, constants = OPERATORS[name]
    model = model_of(nodes, constants)
    before = model.SerializeToString()
    half = to_float16(model)
    assert model.SerializeToString() == before
    noisy = np.random.default_rng(1).random((2, 8, 6, 2), np.float32)
    received = run(half, noisy)
    assert received.dtype == np.float32
    np.testing.assert_allclose(received, run(model, noisy), atol=4e-3)
    assert float_tensors(half) == STAYS_FLOAT.get(name, set())
    kinds = [n.op_type for n in half.graph.node]
    assert (kinds[0], kinds[-1]) == ("Constant" if name == "a Constant node" else "Cast", "Cast")


@pytest.mark.parametrize("opset", range(13, 19))
def test_every_opset(opset):
    nodes = [node("Conv", "x,w", "c", pads=[1] * 4), node("LeakyRelu", "c", "l", alpha=0.3), node("Sigmoid", "l")]
    model = model_of(nodes, {"w": weights(2, 2, 3, 3)}, opset=opset)
    half = to_float16(model)
    assert half.opset_import[0].version == opset
    assert not float_tensors(half)
    noisy = np.random.default_rng(2).random((1, 4, 4, 2), np.float32)
    np.testing.assert_allclose(run(half, noisy), run(model, noisy), atol=2e-3)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    kinds=st.lists(st.sampled_from(["Conv", "ConvTranspose", "LeakyRelu", "Sigmoid", "Add", "Mul", "Concat"]), max_size=8),
    seed=st.integers(0, 99),
)
def test_any_stack_differs_by_rounding_alone(kinds: list[str], seed: int):
    """Every tensor that has been made may be used again, so there are skip connections and shared weights too."""
    rng = np.random.default_rng(seed)
    constants: Constants = {"w": weights(2, 2, 3, 3, seed=seed), "g": weights(2, 1, 1, seed=seed)}
    widen = {"from": np.array([0], INT), "to": np.array([2], INT), "axes": np.array([1], INT)}
    nodes, made = [], ["x"]
    for number, kind in enumerate(kinds):
        source, other, output = made[-1], str(rng.choice(made)), f"t{number}"
        if kind.startswith("Conv"):
            nodes.append(helper.make_node(kind, [source, "w"], [output], output, pads=[1] * 4))
        elif kind == "Concat":
            nodes.append(helper.make_node("Concat", [source, other], [f"{output}_both"], f"{output}_concat", axis=1))
            nodes.append(helper.make_node("Slice", [f"{output}_both", *widen], [output], output))
        elif kind == "Mul":
            nodes.append(helper.make_node("Mul", [source, "g"], [output], output))
        else:
            nodes.append(helper.make_node(kind, [source, other] if kind == "Add" else [source], [output], output))
        made.append(output)
    nodes.append(helper.make_node("Identity", [made[-1]], ["y"], "last"))
    model = model_of(nodes, constants | widen)
    noisy = rng.random((1, 5, 7, 2), np.float32)
    expected = run(model, noisy)
    half = to_float16(model)
    assert not float_tensors(half)
    # 2^-11 is half a step of the numbers below 1; each of at most nine nodes adds a few of those.
    np.testing.assert_allclose(run(half, noisy), expected, atol=2**-11 * 30 * max(1, float(np.abs(expected).max())))


def test_shapes_and_indices_are_not_touched():
    nodes, constants = OPERATORS["Gemm"]
    half = to_float16(model_of(nodes, constants))
    after = {t.name: numpy_helper.to_array(t) for t in half.graph.initializer}
    for name in ("flat", "square"):
        assert after[name].dtype == np.int64
        np.testing.assert_array_equal(after[name], constants[name])


def test_a_weight_that_two_nodes_share_is_stored_once():
    nodes = [node("Conv", "x,w", "c", pads=[1] * 4), helper.make_node("Conv", ["c", "w"], ["y"], "again", pads=[1] * 4)]
    half = to_float16(model_of(nodes, {"w": weights(2, 2, 3, 3)}))
    assert len(half.graph.initializer) == 1


def test_the_file_shrinks_to_half():
    model = model_of([node("Conv", "x,w", pads=[2] * 4)], {"w": weights(2, 2, 5, 5)})
    size = len(to_float16(model).graph.initializer[0].raw_data)
    assert size == len(model.graph.initializer[0].raw_data) / 2


def test_an_edge_of_pixels_stays_as_it_is():
    model = model_of([node("Sigmoid", "x")])
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    model.graph.node[0].input[0] = "floats"
    model.graph.node.insert(0, helper.make_node("DequantizeLinear", ["noisy", "scale"], ["floats"]))
    model.graph.initializer.append(numpy_helper.from_array(np.float32(1 / 255), "scale"))
    half = to_float16(model)
    assert half.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8
    noisy = np.arange(96, dtype=np.uint8).reshape(1, 6, 8, 2) * 2
    np.testing.assert_allclose(run(half, noisy), run(model, noisy), atol=1e-3)


def stored(value: float | list[float]) -> np.ndarray:
    half = to_float16(model_of([node("Mul", "x,c")], {"c": np.array(value, np.float32)}))
    return numpy_helper.to_array(half.graph.initializer[0])


@pytest.mark.parametrize("value", [LARGEST, -LARGEST, 6.1e-5, 1e-6, -6e-8, 0.0, 1 / 3])
def test_constants_are_rounded_to_the_nearest(value):
    np.testing.assert_array_equal(stored([[[value]], [[1.0]]]).ravel(), np.array([value, 1], np.float16))
    assert stored([[[value]], [[1.0]]]).dtype == np.float16


@pytest.mark.parametrize("value", [1e-8, -1e-12])
def test_a_scalar_does_not_become_zero(value):
    assert stored(value) == np.copysign(SMALLEST, value)
    assert stored([[[value]], [[1.0]]]).ravel()[0] == 0  # one weight among many is only rounded


@pytest.mark.parametrize("value", [65505.0, -1e6])
def test_constants_beyond_float16_are_refused_by_name(value):
    with pytest.raises(ConversionError, match=rf"'c' contains {re.escape(f'{abs(value):g}')}.*65504.*Export fp32"):
        stored([[[value]], [[1.0]]])


def test_subgraphs_are_refused_by_name():
    body = helper.make_graph(
        [helper.make_node("Constant", [], ["z"], value_float=0.5)],
        "body",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [])],
    )
    choice = helper.make_node("If", ["flag"], ["c"], "choice", then_branch=body, else_branch=body)
    with pytest.raises(ConversionError, match="If 'choice'"):
        to_float16(model_of([choice, node("Mul", "x,c")], {"flag": np.array(True)}))
