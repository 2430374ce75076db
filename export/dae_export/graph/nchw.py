"""Images as N, C, H, W at input and output, as other programs hand them over.

The network is the same; only the order of its image tensors changes. A Transpose of the input moves down from the front,
through nodes that treat all pixels alike, until it meets one that reverses it. Where none does, it stays.

    T(x) is x with its axes permuted; f treats every element alike:   f(T(x)) = T(f(x)),  T'(T(x)) = x if T' reverses T
"""

from __future__ import annotations

import numpy as np
import onnx

from .model import ELEMENTWISE, TO_NCHW, TO_NHWC, Graph, attributes, make_node

Order = tuple[int, ...]

SAME: Order = (0, 1, 2, 3)
ARITHMETIC = {"Add", "Sub", "Mul", "Div", "Min", "Max", "Round", "Cast", "Identity", "QuantizeLinear", "DequantizeLinear"}
PIXELWISE = ELEMENTWISE | ARITHMETIC
"""Nodes that treat all pixels alike, if their other inputs do."""


def take_nchw(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model whose image input and output are N x C x H x W; `model`, N x H x W x C, is not changed."""
    graph = Graph(model)
    _Permutation(graph).run()
    dims = [[d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim] for value in (graph.input, graph.output)]
    graph.set_dimensions(*([shape[axis] for axis in TO_NCHW] for shape in dims))
    return graph.to_model()


class _Permutation:
    """One pass over the nodes in order; `orders` says which tensor is a permutation of which."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.orders: dict[str, tuple[str, Order]] = {graph.input.name: (graph.input.name, TO_NHWC)}
        """By tensor: the source and the order of its axes that make the tensor."""
        self.permuted: dict[tuple[str, Order], str] = {}
        """Permutations that are computed."""
        self.nodes: list[onnx.NodeProto] = []
        self.count = 0

    def run(self) -> None:
        graph, output = self.graph, self.graph.output.name
        graph.rename(output, self._name(output))
        for node in graph.nodes:
            self._take(node)
        result = self._in_order(graph.output.name, TO_NCHW)
        graph.nodes = self.nodes
        graph.output.name = result
        if result == graph.input.name or graph.consumers(result):
            graph.output.name = self._name("result")
            graph.nodes.append(make_node("Identity", [result], [graph.output.name], name="identity_nchw"))
        graph.rename(graph.output.name, output)

    def _take(self, node: onnx.NodeProto) -> None:
        """Let a node read sources instead of permuted tensors where it can, and the permuted tensors where it cannot."""
        name = node.input[0] if node.input else ""
        source, order = self.orders.get(name, (name, SAME))
        if node.op_type == "Transpose" and len(attributes(node)["perm"]) == 4:
            self.orders[node.output[0]] = source, tuple(order[axis] for axis in attributes(node)["perm"])
        elif not any(name in self.orders for name in node.input):
            self.nodes.append(node)
        elif node.op_type == "Shape" and not node.attribute:
            shape = self._name("shape")
            self.nodes.append(make_node("Shape", [source], [shape], name=shape))
            self.nodes.append(make_node("Gather", [shape, self._constant(order)], node.output, name=node.name, axis=0))
        elif node.op_type in ("Pad", "Slice") and len(node.input) == (2 if node.op_type == "Pad" else 3):
            node.input[:] = [source, *(self._reordered(name, order) for name in node.input[1:])]
            self._keep(node, order)
        elif node.op_type in PIXELWISE and (common := self._common_order(node)) is not None:
            node.input[:] = [self.orders[name][0] if name in self.orders else name for name in node.input]
            self._keep(node, common)
        else:
            node.input[:] = [self._in_order(name, SAME) for name in node.input]
            self.nodes.append(node)

    def _keep(self, node: onnx.NodeProto, order: Order) -> None:
        """Add a node that now computes a source, of which its output of before is the permutation."""
        before = node.output[0]
        node.output[0] = self._name(before)
        self.orders[before] = node.output[0], order
        self.nodes.append(node)

    def _common_order(self, node: onnx.NodeProto) -> Order | None:
        """Return the order of all inputs but those of one number per image; None if they differ."""
        names = [name for name in node.input if name and not self._is_number(name)]
        orders = {self.orders[name][1] if name in self.orders else None for name in names}
        return orders.pop() if len(orders) == 1 else None

    def _is_number(self, name: str) -> bool:
        value, shape = self.graph.constant(name), self.graph.shapes.get(name, (None,))
        return (value is not None and value.size == 1) or shape[1:] == (1, 1, 1)

    def _reordered(self, name: str, order: Order) -> str:
        """Return the numbers of a tensor, one for each axis or its begins and then its ends, in the order of the source."""
        inverse = tuple(order.index(axis) for axis in SAME)
        count = self.graph.shapes[name][0]
        indices = inverse if count == 4 else (*inverse, *(4 + axis for axis in inverse))
        moved = self._name(name)
        self.nodes.append(make_node("Gather", [name, self._constant(indices)], [moved], name=moved, axis=0))
        return moved

    def _in_order(self, name: str, order: Order) -> str:
        """Return a tensor in an order, which is computed if no source has it."""
        source, has = self.orders.get(name, (name, SAME))
        wanted = tuple(has[axis] for axis in order)
        if wanted == SAME:
            return source
        if (source, wanted) not in self.permuted:
            moved = self.permuted[source, wanted] = self._name(source)
            self.nodes.append(make_node("Transpose", [source], [moved], name=moved, perm=wanted))
        return self.permuted[source, wanted]

    def _constant(self, numbers: Order) -> str:
        return self.graph.add_constant(np.array(numbers, np.int64), "order")

    def _name(self, hint: str) -> str:
        self.count += 1
        return f"{hint}_nchw_{self.count}"
