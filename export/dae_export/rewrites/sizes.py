"""Known divisors of height and width of each tensor."""

from __future__ import annotations

import math

import onnx

from ..graph.model import ELEMENTWISE, TO_NCHW, Graph, attributes
from .builder import ConvNode, read_conv
from .kernels import keeps_grid

Divisors = tuple[int, int]
"""Divisors of height and width."""


def divisors(graph: Graph, alignment_px: int) -> dict[str, Divisors]:
    """Propagate the divisors of the image size through the graph.

    Args:
        graph: A graph with NHWC input and NCHW convolutions.
        alignment_px: Free heights and widths are multiples of this.

    Returns:
        Divisors of height and width for every NCHW tensor whose size follows from the input. Tensors after an unknown operator
        are missing, and passes skip them.
    """
    image = graph.input.name
    edge = [alignment_px if size is None else size for size in graph.shapes[image][1:3]]
    known: dict[str, Divisors] = {}
    levels = graph.of_sigma()
    for node in graph.nodes:
        x, y = (node.input[0] if node.input else ""), node.output[0]
        if x == image and len(edge) == 2:
            if node.op_type == "Transpose" and tuple(attributes(node).get("perm", ())) == TO_NCHW:
                known[y] = edge[0], edge[1]
        elif node.op_type in ("Add", "Concat") and all(name in known for name in node.input):
            known[y] = math.gcd(*(known[name][0] for name in node.input)), math.gcd(*(known[name][1] for name in node.input))
        elif node.op_type == "Add" and len(levels.intersection(node.input)) == 1 and x in known:
            known[y] = known[x]  # a bias for each channel
        elif x in known and (after := _through(graph, node, known[x])) is not None:
            known[y] = after
    return known


def _through(graph: Graph, node: onnx.NodeProto, before: Divisors) -> Divisors | None:
    if node.op_type in ELEMENTWISE or node.op_type == "Identity":
        return before
    if node.op_type in ("Add", "Mul", "Sub") and any(graph.constant(name) is not None for name in node.input):
        return before
    if (conv := read_conv(graph, node, "Conv")) is not None:
        grid = all(_keeps_grid(conv, axis) for axis in (0, 1))
        if grid and before[0] % conv.strides[0] == 0 and before[1] % conv.strides[1] == 0:
            return before[0] // conv.strides[0], before[1] // conv.strides[1]
    if (conv := read_conv(graph, node, "ConvTranspose")) is not None and all(upsamples(conv, axis) for axis in (0, 1)):
        return before[0] * conv.strides[0], before[1] * conv.strides[1]
    return None


def _keeps_grid(conv: ConvNode, axis: int) -> bool:
    return keeps_grid(conv.weights.shape[2 + axis], conv.strides[axis], conv.pads[axis], conv.pads[2 + axis])


def upsamples(conv: ConvNode, axis: int) -> bool:
    """Return whether a ConvTranspose maps n pixels of an axis to exactly n * stride."""
    kernel: int = conv.weights.shape[2 + axis]
    return kernel + conv.output_padding[axis] - conv.pads[axis] - conv.pads[2 + axis] == conv.strides[axis]


def block_size(divisor: int, wanted: int) -> int:
    """Return the largest power of two, at most `wanted`, that divides `divisor`."""
    return math.gcd(divisor, wanted)
