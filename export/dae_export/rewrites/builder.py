"""Tools for passes: attributes of convolutions, elementwise chains, and replacement of nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from dae_runtime.pixels.arrays import FloatArray

from ..graph.model import ELEMENTWISE, Array, Graph, attributes, make_node
from .kernels import Convolution


@dataclass(frozen=True)
class ConvNode:
    """A Conv or ConvTranspose with a constant kernel."""

    node: onnx.NodeProto
    weights: FloatArray
    bias: FloatArray
    """(C_out,); zeros without a bias."""
    pads: tuple[int, int, int, int]
    strides: tuple[int, int]
    output_padding: tuple[int, int]

    @property
    def x(self) -> str:
        """The node's input."""
        return str(self.node.input[0])

    @property
    def y(self) -> str:
        """The node's output."""
        return str(self.node.output[0])

    @property
    def convolution(self) -> Convolution:
        """The kernel of a Conv."""
        return Convolution(self.weights, self.pads, self.strides)


def read_conv(graph: Graph, node: onnx.NodeProto | None, op_type: str) -> ConvNode | None:
    """Return the attributes of a convolution, or None if passes do not support it.

    That is another operator, or a kernel that is computed, not two-dimensional, grouped or dilated, or `auto_pad`.
    """
    if node is None or node.domain or node.op_type != op_type:
        return None
    weights = graph.constant(node.input[1])
    biased = len(node.input) > 2 and node.input[2] != ""
    bias = graph.constant(node.input[2]) if biased else None
    if weights is None or weights.ndim != 4 or (biased and bias is None):
        return None
    values = attributes(node)
    plain = (
        values.get("dilations", [1, 1]) == [1, 1]
        and values.get("group", 1) == 1
        and values.get("auto_pad", "NOTSET") == "NOTSET"
        and "output_shape" not in values
    )
    if not plain:
        return None
    top, left, bottom, right = values.get("pads", [0, 0, 0, 0])
    row_stride, column_stride = values.get("strides", [1, 1])
    extra_rows, extra_columns = values.get("output_padding", [0, 0])
    return ConvNode(
        node,
        weights.astype(np.float32),
        np.zeros(weights.shape[0 if op_type == "Conv" else 1], np.float32) if bias is None else bias.astype(np.float32),
        (top, left, bottom, right),
        (row_stride, column_stride),
        (extra_rows, extra_columns),
    )


def elementwise_after(graph: Graph, tensor: str) -> list[onnx.NodeProto]:
    """Return the chain of elementwise nodes that are the only consumers of a tensor, nearest first."""
    chain: list[onnx.NodeProto] = []
    while (node := graph.only_consumer(tensor)) is not None:
        constant = all(name == "" or graph.constant(name) is not None for name in node.input[1:])
        if node.domain or node.op_type not in ELEMENTWISE or not constant:
            break
        chain.append(node)
        tensor = node.output[0]
    return chain


class Builder:
    """Inserts new nodes before an old one, named after it, and then replaces it."""

    def __init__(self, graph: Graph, anchor: onnx.NodeProto) -> None:
        """Start replacing `anchor` in `graph`."""
        self._graph, self._anchor, self._count = graph, anchor, 0

    def add(self, op_type: str, inputs: Sequence[str], **values: Any) -> str:
        """Add a node with one output and return the name of the output."""
        name = self._name(op_type)
        self._graph.insert_before(self._anchor, [make_node(op_type, inputs, [f"{name}:0"], name=name, **values)])
        return f"{name}:0"

    def array(self, array: Array) -> str:
        """Add a constant and return its name."""
        return self._graph.add_constant(array, self._name("constant"))

    def conv(self, x: str, convolution: Convolution, bias: FloatArray) -> str:
        """Add a Conv."""
        weights = convolution.weights
        return self.add(
            "Conv",
            [x, self.array(weights), self.array(bias.astype(np.float32))],
            kernel_shape=weights.shape[2:],
            pads=convolution.pads,
            strides=convolution.strides,
        )

    def elementwise(self, x: str, chain: Sequence[onnx.NodeProto]) -> str:
        """Add copies of a chain of elementwise nodes."""
        for node in chain:
            x = self.add(node.op_type, [x, *node.input[1:]], **attributes(node))
        return x

    def transpose(self, x: str, order: tuple[int, ...]) -> str:
        """Add a Transpose, usually `TO_NHWC` or `TO_NCHW`."""
        return self.add("Transpose", [x], perm=order)

    def reshape(self, x: str, shape: tuple[int, ...]) -> str:
        """Add a Reshape; 0 keeps a dimension and -1 is inferred."""
        return self.add("Reshape", [x, self.array(np.array(shape, np.int64))])

    def replace(self, old: Sequence[onnx.NodeProto], tensor: str) -> None:
        """Remove the chain `old`, and rename `tensor` to the output of its last node."""
        for node in old:
            self._graph.remove(node)
        name = old[-1].output[0]
        self._graph.redirect(name, tensor)
        self._graph.rename(tensor, name)

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{self._anchor.name}/{kind}_{self._count}"
