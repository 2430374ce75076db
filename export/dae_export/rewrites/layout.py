"""Removal of Transposes that cancel each other."""

from __future__ import annotations

import onnx

from ..graph.model import Graph, attributes
from .builder import Builder


def cancel_layout(graph: Graph) -> None:
    """Remove pairs of Transposes that cancel each other."""
    while any(_merge(graph, node) for node in list(graph.nodes)):
        graph.clean()


def _merge(graph: Graph, node: onnx.NodeProto) -> bool:
    first = graph.producer(node.input[0]) if node.op_type == "Transpose" else None
    if first is None or first.op_type != "Transpose":
        return False
    outer, inner = _order(node), _order(first)
    if outer is None or inner is None:
        return False
    order = tuple(inner[i] for i in outer)
    source = first.input[0]
    if order != tuple(range(len(order))):
        build = Builder(graph, node)
        build.replace([node], build.transpose(source, order))
    elif node.output[0] == graph.output.name:
        return False
    else:
        graph.remove(node)
        graph.redirect(node.output[0], source)
    return True


def _order(node: onnx.NodeProto) -> list[int] | None:
    order: list[int] | None = attributes(node).get("perm")
    return order
