"""Elementwise layers as N, C, H, W: the Transposes that a converter leaves around them move out of the network.

    f treats all elements alike, T permutes the axes:    f(T(x), T(y), c) = T(f(x, y, T'(c))) with T' the reverse of T

A T to N, H, W, C moves down, below f; one to N, C, H, W moves up. Where both meet, they cancel. Axes of a reduction, a softmax
or a concatenation are permuted as well.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from ..graph.model import ELEMENTWISE, TO_NCHW, TO_NHWC, Graph, attributes, make_node, set_attributes

ALIKE = ELEMENTWISE | {"Add", "Sub", "Mul", "Div", "Neg", "Abs", "Max", "Min", "PRelu", "Sqrt", "Pow", "Exp", "Log", "Erf"}
ALIKE |= {"Reciprocal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "Where", "And", "Or", "Not", "Cast"}
ALONG = frozenset({"Concat", "Softmax", "LogSoftmax"})
REDUCTIONS = frozenset({"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd"})

Permutation = Sequence[int]


def sink_transposes(graph: Graph) -> None:
    """Move the Transposes around elementwise nodes, in place."""
    for node in list(graph.nodes):
        if _moves(node) and all(_fits(graph, name, TO_NHWC) for name in node.input) and _any_moved(graph, node):
            _swap(graph, node)
    for node in reversed(list(graph.nodes)):
        if node.op_type in ALIKE and (user := graph.only_consumer(node.output[0])) is not None and _is(user, TO_NCHW):
            _lift(graph, node, user)
    graph.clean()
    graph.infer_shapes()


def _moves(node: onnx.NodeProto) -> bool:
    if node.op_type in REDUCTIONS:
        return bool(attributes(node).get("keepdims", 1))
    return node.op_type in ALIKE or node.op_type in ALONG


def _is(node: onnx.NodeProto | None, permutation: Permutation) -> bool:
    return node is not None and node.op_type == "Transpose" and attributes(node).get("perm") == list(permutation)


def _fits(graph: Graph, name: str, permutation: Permutation) -> bool:
    return not name or name in graph.constants or _is(graph.producer(name), permutation)


def _any_moved(graph: Graph, node: onnx.NodeProto) -> bool:
    return any(_is(graph.producer(name), TO_NHWC) for name in node.input)


def _swap(graph: Graph, node: onnx.NodeProto) -> None:
    """Let a node read images before their Transpose to N, H, W, C, and transpose its result."""
    axes = _axes(graph, node)
    if axes is not None:
        moved = [TO_NHWC[axis] for axis in axes]
        if node.op_type in ALONG:
            set_attributes(node, attributes(node) | {"axis": moved[0]})
        elif len(node.input) > 1:
            node.input[1] = graph.add_constant(np.array(moved, np.int64), "axes")
        else:
            set_attributes(node, attributes(node) | {"axes": moved})
    for index, name in enumerate(node.input):
        maker = graph.producer(name)
        if maker is not None:
            node.input[index] = maker.input[0]
        elif name and (axes is None or index == 0):
            node.input[index] = _permuted(graph, name, TO_NCHW)
    result = node.output[0]
    node.output[0] = graph.fresh_name("moved")
    position = next(i for i, other in enumerate(graph.nodes) if other is node)
    graph.nodes.insert(position + 1, make_node("Transpose", [node.output[0]], [result], perm=TO_NHWC))


def _axes(graph: Graph, node: onnx.NodeProto) -> list[int] | None:
    """Return the axes that a node treats apart, from 0 to 3; None if it treats all alike."""
    values = attributes(node)
    if node.op_type in ALONG:
        return [int(values.get("axis", -1)) % 4]
    if node.op_type not in REDUCTIONS:
        return None
    given = graph.constants[node.input[1]].tolist() if len(node.input) > 1 else values.get("axes", range(4))
    return [int(axis) % 4 for axis in given]


def _lift(graph: Graph, node: onnx.NodeProto, transpose: onnx.NodeProto) -> None:
    """Let a node write N, C, H, W, and transpose what it reads."""
    result = transpose.output[0]
    for index, name in enumerate(node.input):
        if name in graph.constants:
            node.input[index] = _permuted(graph, name, TO_NCHW)
        elif name and len(graph.shapes[name]) == 4:
            inner = graph.fresh_name("moved")
            graph.insert_before(node, [make_node("Transpose", [name], [inner], perm=TO_NCHW)])
            node.input[index] = inner
    graph.remove(transpose)
    node.output[0] = result


def _permuted(graph: Graph, name: str, permutation: Permutation) -> str:
    """Return the name of a constant, of any rank that broadcasts to 4 axes, with its axes permuted."""
    value = graph.constants[name]
    if value.size == 1:
        return name
    return graph.add_constant(value.reshape((1,) * (4 - value.ndim) + value.shape).transpose(permutation), "moved")
