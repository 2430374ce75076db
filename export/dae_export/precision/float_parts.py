"""Arithmetic that stays in float: what activations and normalizations without an integer form consist of.

A GELU is Mul, Pow, Add, Tanh, Add, Mul: with 8 bits after each of them little of it would be left, while in float only its
result is rounded.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx

from ..graph.model import ELEMENTWISE, Graph

ARITHMETIC = ("Add", "Mul")
"""Kinds with an integer form that activations consist of."""


def float_parts(graph: Graph, integer: Collection[str]) -> list[str]:
    """Return the names of the Add and Mul nodes that belong to float arithmetic.

    Those with a constant beside a float node, an Add with a constant in any case (it has a scale of its own), and those beside
    these. A sum of the network itself beside an activation, which is one float node, has 8 bits.

    Args:
        graph: A float graph.
        integer: The kinds that have an integer form.
    """
    arithmetic = [node for node in graph.nodes if node.op_type in ARITHMETIC]
    constant = [node for node in arithmetic if graph.constants.keys() & set(node.input)]
    activations = {node.name for node in graph.nodes if node.op_type in ELEMENTWISE}
    floats = {node.name for node in graph.nodes if node.op_type not in integer}
    floats |= {node.name for node in constant if node.op_type == "Add"}
    _spread(graph, constant, floats)
    floats |= {node.name for node in arithmetic if _neighbors(graph, node) & (floats - activations)}
    _spread(graph, constant, floats)
    return [node.name for node in arithmetic if node.name in floats]


def _spread(graph: Graph, nodes: list[onnx.NodeProto], floats: set[str]) -> None:
    """Add nodes beside those of `floats`, and beside the added ones."""
    while added := {node.name for node in nodes if node.name not in floats and _neighbors(graph, node) & floats}:
        floats |= added


def _neighbors(graph: Graph, node: onnx.NodeProto) -> set[str]:
    makers = [maker for name in node.input if (maker := graph.producer(name)) is not None]
    return {other.name for other in (*makers, *graph.consumers(node.output[0]))}
