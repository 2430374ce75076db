"""Passes for dense layers: one Gemm each, in the layout of convolutions; on the channels of images, one convolution."""

from __future__ import annotations

import numpy as np
import onnx

from ..graph.model import ELEMENTWISE, TO_NCHW, TO_NHWC, Array, Graph, attributes, make_node


def matmul_to_gemm(graph: Graph) -> None:
    """Replace a product with a constant matrix by Gemm, which can hold a bias."""
    for node in list(graph.nodes):
        weight = graph.constant(node.input[1]) if node.op_type == "MatMul" else None
        if weight is not None and weight.ndim == 2 and len(graph.shapes[node.input[0]]) == 2:
            graph.replace(node, [make_node("Gemm", node.input, node.output)])


def dense_to_convolution(graph: Graph) -> None:
    """Replace a dense layer on the channels of images by a 1 x 1 convolution.

    It is a MatMul of N x H x W x C, or a Gemm between the Reshapes of it and to it.
    """
    for node in list(graph.nodes):
        before, after = graph.producer(node.input[0]), graph.only_consumer(node.output[0])
        weight = graph.constant(node.input[1]) if node.op_type == "MatMul" else None
        if weight is not None and weight.ndim == 2 and len(graph.shapes[node.input[0]]) == 4:
            graph.replace(node, _convolution(graph, node, node.input[0], node.output[0]))
        elif is_plain_gemm(graph, node) and _is_reshape(before) and _is_reshape(after):
            assert before is not None
            assert after is not None
            source, result = graph.shapes[before.input[0]], graph.shapes[after.output[0]]
            if len(source) == len(result) == 4 and (*result[:3], source[3]) == (*source[:3], graph.shapes[node.input[1]][0]):
                graph.replace(node, _convolution(graph, node, before.input[0], after.output[0]))
                graph.remove(after)
    graph.clean()
    graph.infer_shapes()


def _is_reshape(node: onnx.NodeProto | None) -> bool:
    return node is not None and node.op_type == "Reshape"


def _convolution(graph: Graph, dense: onnx.NodeProto, source: str, result: str) -> list[onnx.NodeProto]:
    """Return the convolution of N x H x W x C by the matrix of a dense layer, and its bias."""
    image, convolved = graph.fresh_name("image"), graph.fresh_name("convolved")
    kernel = graph.add_constant(graph.constants[dense.input[1]].T[:, :, None, None], "weight")
    return [
        make_node("Transpose", [source], [image], perm=TO_NCHW),
        make_node("Conv", [image, kernel, *dense.input[2:]], [convolved], kernel_shape=[1, 1], strides=[1, 1]),
        make_node("Transpose", [convolved], [result], perm=TO_NHWC),
    ]


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
