"""What every pass needs of a graph: attributes of convolutions, elementwise chains, and new nodes beside old ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from .kernels import Convolution, FloatArray

ELEMENTWISE = frozenset({"Clip", "Elu", "HardSigmoid", "LeakyRelu", "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Tanh"})
"""Operators that treat every number alike, so that they commute with any rearrangement of pixels."""

Attributes = dict[str, int | float | str | tuple[int, ...]]

TO_NHWC, TO_NCHW = (0, 2, 3, 1), (0, 3, 1, 2)


@dataclass(frozen=True)
class ConvNode:
    """A Conv or ConvTranspose whose kernel is a constant."""

    node: ir.Node
    x: ir.Value
    weights: FloatArray
    bias: FloatArray
    """(C_out,); zeros where the node has none."""
    pads: tuple[int, int, int, int]
    strides: tuple[int, int]
    output_padding: tuple[int, int]

    @property
    def y(self) -> ir.Value:
        """The node's output."""
        return self.node.outputs[0]

    @property
    def convolution(self) -> Convolution:
        """The kernel of a Conv."""
        return Convolution(self.weights, self.pads, self.strides)


def read_conv(node: ir.Node, op_type: str) -> ConvNode | None:
    """Return what a pass needs to know of a convolution, or None if it is of a kind that the passes leave alone.

    That is: another operator, a kernel that is not a constant, not two-dimensional, grouped, dilated, or `auto_pad`.
    """
    if node.domain or node.op_type != op_type or len(node.inputs) < 2 or node.inputs[0] is None:
        return None
    weights = constant(node.inputs[1])
    bias = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if weights is None or weights.ndim != 4 or (len(node.inputs) > 2 and bias is None):
        return None
    plain = (
        _integers(node, "dilations", (1, 1)) == (1, 1)
        and node.attributes.get_int("group", 1) == 1
        and node.attributes.get_string("auto_pad", "NOTSET") == "NOTSET"
        and "output_shape" not in node.attributes
    )
    if not plain:
        return None
    c_out = weights.shape[0 if op_type == "Conv" else 1]
    pads = _integers(node, "pads", (0, 0, 0, 0))
    strides = _integers(node, "strides", (1, 1))
    output_padding = _integers(node, "output_padding", (0, 0))
    return ConvNode(
        node,
        node.inputs[0],
        weights.astype(np.float32),
        np.zeros(c_out, np.float32) if bias is None else bias.astype(np.float32),
        (pads[0], pads[1], pads[2], pads[3]),
        (strides[0], strides[1]),
        (output_padding[0], output_padding[1]),
    )


def constant(value: ir.Value | None) -> npt.NDArray[np.generic] | None:
    """Return the array of an initializer, or None if the value is computed or fed."""
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    array: npt.NDArray[np.generic] = value.const_value.numpy()
    return array


def only_user(value: ir.Value) -> ir.Node | None:
    """Return the node that alone consumes `value`, or None if there are several, or the value is an output."""
    return None if value.is_graph_output() or len(value.uses()) != 1 else next(iter(value.consumers()))


def elementwise_after(value: ir.Value) -> list[ir.Node]:
    """Return the chain of elementwise nodes that alone consume `value`, nearest first."""
    chain: list[ir.Node] = []
    while (node := only_user(value)) is not None:
        others = list(node.inputs)[1:]
        if node.domain or node.op_type not in ELEMENTWISE or any(v is not None and constant(v) is None for v in others):
            break
        chain.append(node)
        value = node.outputs[0]
    return chain


class Builder:
    """Writes new nodes in front of an old one, named after it, and then puts them in its place."""

    def __init__(self, graph: ir.Graph, anchor: ir.Node) -> None:
        """Start a replacement of `anchor` in `graph`."""
        self._graph, self._anchor, self._count = graph, anchor, 0

    def add(self, op_type: str, inputs: Sequence[ir.Value | None], attributes: Attributes) -> ir.Value:
        """Add one node with one output and return that output."""
        name = self._name(op_type)
        node = ir.node(op_type, inputs, attributes, name=name)
        node.outputs[0].name = f"{name}:0"
        node.outputs[0].dtype = ir.DataType.FLOAT
        self._graph.insert_before(self._anchor, node)
        return node.outputs[0]

    def array(self, array: npt.NDArray[np.generic]) -> ir.Value:
        """Add a constant."""
        name = self._name("constant")
        value = ir.Value(name=name, const_value=ir.tensor(array, name=name))
        self._graph.register_initializer(value)
        return value

    def conv(self, x: ir.Value, convolution: Convolution, bias: FloatArray) -> ir.Value:
        """Add a Conv."""
        rows, columns = convolution.weights.shape[2:]
        return self.add(
            "Conv",
            [x, self.array(convolution.weights), self.array(bias.astype(np.float32))],
            {"kernel_shape": (rows, columns), "pads": convolution.pads, "strides": convolution.strides},
        )

    def elementwise(self, x: ir.Value, chain: Sequence[ir.Node]) -> ir.Value:
        """Add copies of elementwise nodes, one after the other."""
        for node in chain:
            copy = ir.Node(
                "", node.op_type, [x, *list(node.inputs)[1:]], list(node.attributes.values()), name=self._name(node.op_type)
            )
            copy.outputs[0].name = f"{copy.name}:0"
            copy.outputs[0].dtype = ir.DataType.FLOAT
            self._graph.insert_before(self._anchor, copy)
            x = copy.outputs[0]
        return x

    def transpose(self, x: ir.Value, order: tuple[int, ...]) -> ir.Value:
        """Add a Transpose, usually `TO_NHWC` or `TO_NCHW`."""
        return self.add("Transpose", [x], {"perm": order})

    def reshape(self, x: ir.Value, shape: tuple[int, ...]) -> ir.Value:
        """Add a Reshape; 0 keeps a dimension and -1 stands for what is left."""
        return self.add("Reshape", [x, self.array(np.array(shape, np.int64))], {})

    def replace(self, old: Sequence[ir.Node], value: ir.Value) -> None:
        """Let `value` stand for the output of the last node of the chain `old`, and remove the chain."""
        ir.convenience.replace_all_uses_with(old[-1].outputs[0], value, replace_graph_outputs=True)
        self._graph.remove(list(reversed(old)), safe=True)

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{self._anchor.name}/{kind}_{self._count}"


def _integers(node: ir.Node, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(node.attributes.get_ints(name, default) or default)
