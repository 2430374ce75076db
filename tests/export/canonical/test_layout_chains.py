"""Chains of data movements become their simplest equivalent."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from dae_export.canonical.layout_chains import simplify_movements
from dae_export.graph.model import Graph, attributes

SHAPE = (2, 6, 4, 3)


def build(steps: list[tuple[str, object]], shape: tuple[int, ...] = SHAPE) -> Graph:
    """A chain between two Relu nodes: ("Transpose", perm), ("Reshape", shape), ("Tile", repeats), ("Unsqueeze", axis)."""
    nodes, tensors, last = [helper.make_node("Relu", ["noisy"], ["start"])], [], "start"
    array = np.zeros(shape)
    for i, (kind, value) in enumerate(steps):
        inputs = [last]
        if kind in ("Reshape", "Tile", "Unsqueeze", "Squeeze"):
            tensors.append(numpy_helper.from_array(np.atleast_1d(np.array(value, np.int64)), f"v{i}"))
            inputs.append(f"v{i}")
        values = {"perm": value} if kind == "Transpose" else {}
        nodes.append(helper.make_node(kind, inputs, [f"t{i}"], **values))
        array = {
            "Transpose": lambda a, v: a.transpose(v),
            "Reshape": lambda a, v: a.reshape(v),
            "Tile": np.tile,
            "Unsqueeze": np.expand_dims,
            "Identity": lambda a, v: a,
            "Dropout": lambda a, v: a,
        }[kind](array, value)
        last = f"t{i}"
    nodes.append(helper.make_node("Relu", [last], ["denoised"]))
    edges = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)
        for name, dims in (("noisy", shape), ("denoised", array.shape))
    ]
    body = helper.make_graph(nodes, "g", edges[:1], edges[1:], tensors)
    return Graph(helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=8))


CASES = [
    ([("Identity", None), ("Dropout", None)], []),
    ([("Transpose", (0, 3, 1, 2)), ("Transpose", (0, 2, 3, 1))], []),
    ([("Transpose", (0, 2, 1, 3)), ("Transpose", (0, 3, 1, 2))], ["Transpose"]),
    ([("Reshape", (2, 72)), ("Reshape", (2, 6, 4, 3))], []),
    ([("Transpose", (0, 3, 1, 2)), ("Reshape", (2, 72)), ("Reshape", (144,))], ["Transpose", "Reshape"]),
    ([("Reshape", (2, 3, 6, 4)), ("Transpose", (0, 2, 3, 1)), ("Identity", None)], ["Reshape", "Transpose"]),
]


@pytest.mark.parametrize(("steps", "expected"), CASES)
def test_the_simplest_form_is_found_and_equal(run_onnx, steps, expected):
    graph = build(steps)
    noisy = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
    before = run_onnx(graph.to_model(), noisy)
    simplify_movements(graph)
    assert [node.op_type for node in graph.nodes[1:-1]] == expected
    np.testing.assert_array_equal(run_onnx(graph.to_model(), noisy), before)


def test_a_reshape_of_gray_images_becomes_a_transpose_that_fits_every_size():
    graph = build([("Reshape", (2, 1, 6, 4))], (2, 6, 4, 1))
    simplify_movements(graph)
    assert [node.op_type for node in graph.nodes[1:-1]] == ["Transpose"]
    assert attributes(graph.nodes[1])["perm"] == [0, 3, 1, 2]


def test_a_nearest_neighbor_upsampling_becomes_one_resize(run_onnx):
    steps = [
        ("Transpose", (0, 2, 3, 1)),
        *[("Unsqueeze", 2), ("Tile", (1, 1, 2, 1, 1)), ("Reshape", (2, 4 * 2, 3, 6))],
        *[("Unsqueeze", 3), ("Tile", (1, 1, 1, 3, 1)), ("Reshape", (2, 8, 9, 6))],
        ("Transpose", (0, 3, 1, 2)),
    ]
    graph = build(steps)
    noisy = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
    before = run_onnx(graph.to_model(), noisy)
    simplify_movements(graph)
    assert [node.op_type for node in graph.nodes[1:-1]] == ["Resize"]
    np.testing.assert_array_equal(run_onnx(graph.to_model(), noisy), before)


def test_a_chain_without_a_simple_form_stays(run_onnx):
    steps = [("Reshape", (2, 3, 4, 6)), ("Transpose", (0, 2, 1, 3)), ("Reshape", (2, 6, 4, 3))]
    graph = build(steps)
    simplify_movements(graph)
    assert [node.op_type for node in graph.nodes[1:-1]] == [kind for kind, _ in steps]


def test_nothing_but_movements_leaves_an_identity(run_onnx):
    edges = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3]) for name in ("noisy", "denoised")]
    nodes = [helper.make_node("Identity", ["noisy"], ["t"]), helper.make_node("Dropout", ["t"], ["denoised"])]
    body = helper.make_graph(nodes, "g", edges[:1], edges[1:])
    graph = Graph(helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=8))
    simplify_movements(graph)
    assert [node.op_type for node in graph.nodes] == ["Identity"]
    noisy = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(run_onnx(graph.to_model(), noisy), noisy)
