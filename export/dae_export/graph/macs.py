"""Multiply-accumulate operations (MACs) of a graph, and the share in integers.

The canonical graph gives the cost of the network; a rewritten graph may compute more in less time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import onnx

from .any_size import remove_padding
from .model import Graph, attributes

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
INTEGER = ("Conv", "Gemm", "MatMul")
"""Kinds with integer kernels in onnxruntime on CPUs; ConvTranspose has none."""


def count_macs(model: onnx.ModelProto, height_px: int, width_px: int) -> dict[str, int]:
    """Return the MACs of each node with weights for one image, by name, in order.

    What is computed once for a whole image, of the noise level alone, is left out.

    Args:
        model: Canonical, rewritten or quantized.
        height_px: Height of the image, a multiple of the alignment.
        width_px: Width, likewise.
    """
    graph = _sized(model, height_px, width_px)
    levels = graph.of_sigma()
    layers = [node for node in graph.nodes if node.op_type in WEIGHTED and not levels.intersection(node.output)]
    return {node.name: _macs(graph, node) for node in layers}


def macs_per_pixel(model: onnx.ModelProto, height_px: int, width_px: int) -> float:
    """Return the MACs per pixel of an image, constant if the size is free."""
    return sum(count_macs(model, height_px, width_px).values()) / (height_px * width_px)


def integer_nodes(model: onnx.ModelProto) -> set[str]:
    """Return the names of the nodes with weights that an INT8 engine computes in integers.

    They have an integer kernel, dequantized data and weights as inputs, and quantized output:
    https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
    """
    graph = Graph(model)
    kinds = {name: node.op_type for node in graph.nodes for name in node.output}

    def is_integer(node: onnx.NodeProto) -> bool:
        read = [kinds.get(name) for name in node.input[:2]]
        users = {user.op_type for user in graph.consumers(node.output[0])}
        return read == ["DequantizeLinear"] * 2 and users == {"QuantizeLinear"}

    return {node.name for node in graph.nodes if node.op_type in INTEGER and is_integer(node)}


def share(macs: Mapping[str, int], names: set[str]) -> float:
    """Return the share of the named nodes in the MACs, 0 to 1."""
    return sum(macs[name] for name in names) / max(sum(macs.values()), 1)


def _sized(model: onnx.ModelProto, height_px: int, width_px: int) -> Graph:
    graph = Graph(model)
    remove_padding(graph)
    channels = graph.shapes[graph.input.name][3] or 1
    dims = (1, height_px, width_px, channels)
    graph.set_dimensions(dims, dims)
    graph.infer_shapes()
    return graph


def _macs(graph: Graph, node: onnx.NodeProto) -> int:
    weights, before, after = (graph.shapes[name] for name in (node.input[1], node.input[0], node.output[0]))
    if node.op_type == "Conv":  # each output position uses the kernel of its group once
        return math.prod(_known(after)) * math.prod(_known(weights[1:]))
    if node.op_type == "ConvTranspose":  # each input position uses it once
        return math.prod(_known(before)) * math.prod(_known(weights[1:]))
    transposed = attributes(node).get("transB", 0)
    return math.prod(_known(after)) * _known(weights)[1 if transposed else 0]


def _known(shape: tuple[int | None, ...]) -> list[int]:
    assert None not in shape, "a free dimension is left"
    return [n or 0 for n in shape]
