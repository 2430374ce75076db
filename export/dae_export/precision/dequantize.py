"""Conversion of an INT8 graph to float32: the same function without the rounding of activations.

    QuantizeLinear(x, s, z)      becomes  Clip(x, -z s, (255 - z) s): an 8-bit tensor saturates, and so a ReLU is left to it
    nodes that move bytes        move floats
    DequantizeLinear             becomes its input; of a constant, the float32 constant

A Clip of what an equal Clip has bounded already is left out.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto

from ..errors import ConversionError
from ..graph.model import Array, Graph, attributes, make_node
from .first_layer import undo_steps

MOVES = {
    "Transpose",
    "Reshape",
    "DepthToSpace",
    "SpaceToDepth",
    "Slice",
    "Pad",
    "Identity",
    "Squeeze",
    "Unsqueeze",
    "Tile",
    "MaxPool",
}
"""Kinds whose outputs hold values of their first input only."""

Scale = tuple[float, float]
"""Scale and zero point of a tensor of 8 bits."""


def to_float32(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return an INT8 model in float32; `model` is not changed.

    Args:
        model: A model of pairs of QuantizeLinear and DequantizeLinear with float32 input and output.

    Raises:
        ConversionError: An edge has 8 bits, or a tensor of 8 bits is used by a node that does more than move it.
    """
    graph = Graph(model)
    for value in (graph.input, graph.output):
        if value.type.tensor_type.elem_type != TensorProto.FLOAT:
            raise ConversionError(f"the tensor {value.name!r} holds no float32. Export the model with --io float32.")
    undo_steps(graph)
    bounded: dict[str, Scale] = {}
    pixels: dict[str, Scale] = {}
    for node in list(graph.nodes):
        _convert(graph, node, bounded, pixels)
    output = graph.output.name
    for node in [node for node in graph.nodes if node.op_type == "Identity" and node.input[0] != graph.input.name]:
        graph.bypass(node)
    graph.rename(graph.output.name, output)
    return graph.to_model()


def _convert(graph: Graph, node: onnx.NodeProto, bounded: dict[str, Scale], pixels: dict[str, Scale]) -> None:
    """Convert one node; `bounded` are float tensors within the range of a scale, `pixels` those that held 8 bits before."""
    first = node.input[0] if node.input else ""
    if node.op_type == "QuantizeLinear":
        scale = _scale(graph, node)
        pixels[node.output[0]] = bounded[node.output[0]] = scale
        if bounded.get(first) == scale:
            graph.replace(node, [make_node("Identity", [first], node.output, name=node.name)])
        else:
            low, high = (graph.add_constant(np.array((end - scale[1]) * scale[0], np.float32), "bound") for end in (0, 255))
            graph.replace(node, [make_node("Clip", [first, low, high], node.output, name=node.name)])
    elif node.op_type == "DequantizeLinear" and graph.constant(first) is not None:
        graph.remove(node)
        graph.constants[node.output[0]] = _dequantized(graph, node)
    elif node.op_type == "DequantizeLinear":
        if pixels.get(first) != _scale(graph, node):
            raise ConversionError(f"{node.name!r} reads {first!r} with another scale than it was written with. Export fp32.")
        graph.replace(node, [make_node("Identity", [first], node.output, name=node.name)])
        bounded[node.output[0]] = pixels[first]
    elif node.op_type in MOVES and first in bounded:
        for known in (bounded, pixels):
            if first in known:
                known[node.output[0]] = known[first]
    elif pixels.keys() & set(node.input) - {""} and node.op_type != "Shape":
        raise ConversionError(f"{node.op_type} {node.name!r} computes with 8 bits. Export fp32.")


def _scale(graph: Graph, node: onnx.NodeProto) -> Scale:
    scale, zero = (graph.constant(name) for name in node.input[1:3])
    if scale is None or zero is None or scale.size != 1 or zero.dtype != np.uint8:
        raise ConversionError(f"{node.op_type} {node.name!r} has no single constant scale with 8-bit zero point. Export fp32.")
    return float(scale), float(zero)


def _dequantized(graph: Graph, node: onnx.NodeProto) -> Array:
    values, scale, zero = (graph.constants[name].astype(np.float64) for name in node.input[:3])
    if scale.size > 1:
        axis = attributes(node).get("axis", 1)
        shape = [-1 if index == axis else 1 for index in range(values.ndim)]
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    return np.asarray((values - zero) * scale, np.float32)
