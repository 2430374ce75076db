"""Passes for dense layers: one Gemm each, in the layout of convolutions."""

from __future__ import annotations

import numpy as np
import onnx

from ..graph.model import ELEMENTWISE, Array, Graph, attributes, make_node


def matmul_to_gemm(graph: Graph) -> None:
    """Replace a product with a constant matrix by Gemm, which can hold a bias."""
    for node in list(graph.nodes):
        weight = graph.constant(node.input[1]) if node.op_type == "MatMul" else None
        if weight is not None and weight.ndim == 2 and len(graph.shapes[node.input[0]]) == 2:
            graph.replace(node, [make_node("Gemm", node.input, node.output)])


def absorb_layouts(graph: Graph) -> None:
    """Fold a Transpose before or after a dense layer into its matrix.

    Flatten reads an image in the order H, W, C:   y = W vec(T x), T a permutation of the elements, so y = (W T) vec(x).
    Reshape writes an image in the order H, W, C:  x = T f(W v + b) with f elementwise, so x = f((T W) v + T b).
    """
    for node in [node for node in graph.nodes if node.op_type == "Transpose"]:
        _absorb_before(graph, node) or _absorb_after(graph, node)
    graph.clean()


def is_plain_gemm(graph: Graph, node: onnx.NodeProto) -> bool:
    """Return whether a node is y = x W + b with constant W and b, W of shape (inputs, outputs)."""
    plain = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}
    values = plain | attributes(node)
    return (
        node.op_type == "Gemm"
        and all(values[key] == value for key, value in plain.items())
        and all(graph.constant(name) is not None for name in node.input[1:])
    )


def _absorb_before(graph: Graph, transpose: onnx.NodeProto) -> bool:
    reshape = graph.only_consumer(transpose.output[0])
    if reshape is None or reshape.op_type != "Reshape" or len(graph.shapes[reshape.output[0]]) != 2:
        return False
    users = graph.consumers(reshape.output[0])
    if not users or not all(is_plain_gemm(graph, user) for user in users) or reshape.output[0] == graph.output.name:
        return False
    moved = _element_order(graph, transpose)
    if moved is None or any(len(moved) != len(graph.constants[user.input[1]]) for user in users):
        return False
    for gemm in users:
        weight = graph.constants[gemm.input[1]]
        reordered = np.empty_like(weight)
        reordered[moved] = weight
        gemm.input[1] = graph.add_constant(reordered, "weight")
    graph.bypass(transpose)
    return True


def _absorb_after(graph: Graph, transpose: onnx.NodeProto) -> bool:
    reshape = graph.producer(transpose.input[0])
    if reshape is None or reshape.op_type != "Reshape" or graph.only_consumer(reshape.output[0]) is not transpose:
        return False
    gemm = graph.producer(reshape.input[0])
    while gemm is not None and gemm.op_type in ELEMENTWISE and graph.only_consumer(gemm.output[0]) is not None:
        gemm = graph.producer(gemm.input[0])
    if gemm is None or not is_plain_gemm(graph, gemm) or graph.only_consumer(gemm.output[0]) is None:
        return False
    moved = _element_order(graph, transpose)
    if moved is None or len(moved) != graph.constants[gemm.input[1]].shape[1]:
        return False
    for index, hint in ((1, "weight"), (2, "bias")):
        if len(gemm.input) > index:
            value = graph.constants[gemm.input[index]]
            gemm.input[index] = graph.add_constant(np.broadcast_to(value, (*value.shape[:-1], len(moved)))[..., moved], hint)
    shape = [0, *(n or 0 for n in graph.shapes[transpose.output[0]][1:])]
    reshape.input[1] = graph.add_constant(np.array(shape, np.int64), "shape")
    graph.bypass(transpose)
    graph.infer_shapes()
    return True


def _element_order(graph: Graph, transpose: onnx.NodeProto) -> Array | None:
    """Return the position before the Transpose of each element of an image; None if it mixes images."""
    permutation = attributes(transpose)["perm"]
    shape = [n or 0 for n in graph.shapes[transpose.input[0]]]
    if permutation[0] != 0:
        return None
    return np.arange(np.prod(shape[1:])).reshape([1, *shape[1:]]).transpose(permutation).reshape(-1)
