"""Constant folding: what depends on no image is computed once, here; and constants that are no larger than they must be."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from ..graph.model import Array, Graph

BROADCASTING = frozenset({"Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "Where", "Greater", "Less", "Equal"})


def fold_constants(graph: Graph) -> None:
    """Replace nodes that read constants or static shapes only by what they compute, in place."""
    while found := [(node, values) for node in graph.nodes if (values := _computed(graph, node)) is not None]:
        for node, values in found:
            graph.constants.update(zip(node.output, values, strict=True))
            graph.remove(node)
        graph.clean()
        graph.infer_shapes()


def shrink_constants(graph: Graph) -> None:
    """Shorten each constant of an elementwise node along the axes on which it is constant, so that it fits any image size."""
    for node in graph.nodes:
        read = [name for name in node.input if name and name not in graph.constants]
        if node.op_type not in BROADCASTING or not any(graph.shapes[name] == graph.shapes[node.output[0]] for name in read):
            continue
        for index, name in enumerate(node.input):
            value = graph.constants.get(name)
            if value is not None and value.size > 1 and (shrunk := _shrunk(value)).size < value.size:
                node.input[index] = graph.add_constant(shrunk, "shrunk")
    graph.clean()


def part_weights(graph: Graph) -> None:
    """Give transposed convolutions weights of their own, in place, where the converter let them share those of another layer.

    It does so with equal arrays, as of an autoencoder with tied weights; but scales of INT8 go along output channels, another
    axis there.
    """
    transposed = [node for node in graph.nodes if node.op_type == "ConvTranspose"]
    others = {name for node in graph.nodes if node.op_type != "ConvTranspose" for name in node.input}
    for node in transposed:
        weights = node.input[1]
        if weights in graph.constants and weights in others:
            node.input[1] = graph.add_constant(graph.constants[weights], weights)


def _shrunk(value: Array) -> Array:
    for axis in range(value.ndim):
        first = value.take([0], axis)
        if (value == first).all():
            value = first
    return value


def _computed(graph: Graph, node: onnx.NodeProto) -> list[Array] | None:
    """Return the outputs of a node; None if they depend on an image."""
    if node.op_type == "Shape":
        shape = graph.shapes.get(node.input[0], (None,))
        return None if None in shape or node.attribute else [np.array(shape, np.int64)]
    inputs = [name for name in node.input if name]
    if not inputs or any(name not in graph.constants for name in inputs):
        return None
    tensors = [numpy_helper.from_array(graph.constants[name], name) for name in dict.fromkeys(inputs)]
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.output]
    model = helper.make_model(
        helper.make_graph([node], "constant", [], outputs, tensors), opset_imports=[helper.make_opsetid("", graph.opset)]
    )
    return list(ReferenceEvaluator(model).run(None, {}))
