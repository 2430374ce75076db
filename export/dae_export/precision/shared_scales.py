"""Tensors that must share one scale and one zero point in INT8.

What moves numbers without changing them must not round them either: with equal parameters on both sides a Transpose or a
DepthToSpace moves bytes, with different ones it becomes float arithmetic. The same holds for the Concat that puts the parts of
one rewritten layer together: with one scale for all parts and the result it is a plain copy, otherwise every byte goes through
a table. The parts are pixels of one image, so their ranges are alike and little precision is lost.

A Concat of the network itself (a skip connection) joins tensors of different ranges, which keep their own.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx

MOVING = ("Transpose", "Reshape", "DepthToSpace", "SpaceToDepth", "Slice", "Identity", "Squeeze", "Unsqueeze", "Flatten")


def tied_tensors(model: onnx.ModelProto) -> list[set[str]]:
    """Return the groups of tensors that must share their parameters; a tensor that shares with none is in no group."""
    group_of: dict[str, set[str]] = {}
    for tied in _pairs(model):
        merged = set(tied).union(*(group_of.get(name, ()) for name in tied))
        group_of |= dict.fromkeys(merged, merged)
    return list({id(group): group for group in group_of.values()}.values())


def layer_of(node_name: str) -> str:
    """Return the name of the canonical layer that a node was made from: rewrites name their nodes `layer/Kind_1`."""
    return node_name.split("/", 1)[0]


def _pairs(model: onnx.ModelProto) -> Iterator[tuple[str, ...]]:
    maker = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.op_type in MOVING:
            yield node.input[0], node.output[0]
        elif node.op_type == "Concat" and _joins_one_layer(node, maker):
            yield (*node.input, node.output[0])


def _joins_one_layer(concat: onnx.NodeProto, maker: dict[str, onnx.NodeProto]) -> bool:
    makers = [maker.get(name) for name in concat.input]
    layers = {None if node is None else layer_of(node.name) for node in makers}
    return layers == {layer_of(concat.name)} and "/" in concat.name
