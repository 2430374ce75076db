"""Transposes that undo each other."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common

from .graph import Builder


def cancel_layout(model: ir.Model) -> int:
    """Remove pairs of Transposes that undo each other; return how many nodes went."""
    before = model.graph.num_nodes()
    changed = True
    while changed:
        changed = any(_merge(model.graph, node) for node in list(model.graph))
        common.RemoveUnusedNodesPass()(model)
    return before - model.graph.num_nodes()


def _merge(graph: ir.Graph, node: ir.Node) -> bool:
    x = node.inputs[0] if node.inputs else None
    first = x.producer() if x is not None else None
    if first is None or first.op_type != node.op_type or node.op_type != "Transpose":
        return False
    outer, inner = _order(node), _order(first)
    if outer is None or inner is None:
        return False
    order = tuple(inner[i] for i in outer)
    source = first.inputs[0]
    assert source is not None
    if order == tuple(range(len(order))):
        if node.outputs[0].is_graph_output() or source is node.outputs[0]:
            return False
        ir.convenience.replace_all_uses_with(node.outputs[0], source)
        graph.remove(node, safe=True)
    else:
        build = Builder(graph, node)
        build.replace([node], build.transpose(source, order))
    return True


def _order(node: ir.Node) -> tuple[int, ...] | None:
    order = node.attributes.get_ints("perm", None)
    return None if order is None else tuple(order)
