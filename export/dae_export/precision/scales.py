"""Scales of quantized tensors: which must be shared, and which make sums round equally on every processor.

A node that only moves data needs equal parameters on both sides: a Transpose or a DepthToSpace then moves bytes, otherwise it
becomes float arithmetic. The same holds for the Concat of the parts of one rewritten layer: with one scale it is a copy,
otherwise every byte is mapped by a table. The parts are pixels of one image with similar ranges, so little precision is lost.
A Concat of the network itself (a skip connection) joins tensors of different ranges, which keep their scales.

An engine computes Add in 8 bits as round((a - za) Sa / Sc + (b - zb) Sb / Sc) + zc, and kernels differ: with or
without fused multiply-add, in float or fixed point, halves to even or away from zero. They agree unless the sum is within
their rounding error, about 2e-4, of a half. With Sa / Sc = p / m and Sb / Sc = q / m for whole p and q and an *odd*
m every sum is a multiple of 1 / m, and so at least 1 / (2 m) from a half. Free scales of an Add
grow accordingly, by at most 0.3 %.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator

import numpy as np
import onnx

from ..graph.model import Graph
from .exactness import load_model
from .uint8_edges import PIXEL_SCALE

DENOMINATOR = 1023
"""Odd; half a step of it, 4.9e-4, is the distance of a sum from a half."""
SAFE_DISTANCE = 3e-4
"""Distance of a sum from a half; kernels differ by less."""
_SLACK = 1e-6

MOVING = ("Transpose", "Reshape", "DepthToSpace", "SpaceToDepth", "Slice", "Identity", "Squeeze", "Unsqueeze", "Flatten")


def tied_tensors(model: onnx.ModelProto) -> list[set[str]]:
    """Return the groups of tensors that must share their parameters."""
    group_of: dict[str, set[str]] = {}
    for tied in _pairs(model):
        merged = set(tied).union(*(group_of.get(name, ()) for name in tied))
        group_of |= dict.fromkeys(merged, merged)
    return list({id(group): group for group in group_of.values()}.values())


def layer_of(node_name: str) -> str:
    """Return the canonical layer of a node: rewrites name their nodes `layer/Kind_1`."""
    return node_name.split("/", 1)[0]


def round_sums_alike(graph: Graph) -> None:
    """Choose the scales of a QDQ graph in place so that no sum is near a half. Biases must be updated afterwards.

    Shared scales stay shared, and the scale of pixels at input and output stays. An Add whose inputs both have fixed scales is
    not changed; see `near_halves`.
    """
    groups = _shared_scales(graph)
    fixed = {groups[name] for name in groups if _is_pixels(graph, name)}

    def put(name: str, scale: float) -> None:
        for other in [other for other, group in groups.items() if group == groups[name]]:
            graph.constants[other] = np.full_like(graph.constants[other], np.float32(scale))

    for inputs, output in _sums(graph):
        first, second = sorted(inputs, key=lambda name: groups[name] not in fixed)  # fixed first
        if groups[output] not in fixed and groups[first] in fixed:
            ratio = _number(graph, first) / _number(graph, output) * DENOMINATOR
            put(output, _number(graph, first) * DENOMINATOR / max(math.floor(ratio + _SLACK), 1))
        fixed.add(groups[output])
        for name in (first, second):
            if groups[name] not in fixed:
                put(
                    name,
                    _number(graph, output)
                    * math.ceil(_number(graph, name) / _number(graph, output) * DENOMINATOR - _SLACK)
                    / DENOMINATOR,
                )
                fixed.add(groups[name])


def near_halves(model: onnx.ModelProto | bytes | str | os.PathLike[str]) -> list[str]:
    """Return the quantized sums of a QDQ model that processors may round differently, by name.

    Args:
        model: A QDQ model, its content, or the path of its file.

    Raises:
        ModelError: The file cannot be read.
    """
    graph = Graph(load_model(model))
    makers = {name: node for node in graph.nodes for name in node.output}
    found = []
    for node in graph.nodes:
        users = graph.consumers(node.output[0]) if node.op_type == "Add" else []
        read = [makers.get(name) for name in node.input]
        if [user.op_type for user in users] != ["QuantizeLinear"] or any(n is None or n.op_type[0] != "D" for n in read):
            continue
        unit = _number(graph, users[0].input[1])
        first, second = (
            (np.arange(256) - _number(graph, maker.input[2])) * (_number(graph, maker.input[1]) / unit)
            for maker in read
            if maker
        )
        sums = first[:, None] + second
        if np.abs(sums - np.floor(sums) - 0.5).min() < SAFE_DISTANCE:
            found.append(node.name)
    return found


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


def _sums(graph: Graph) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield the names of the scales of both inputs and of the output of each quantized Add, in the order of the graph."""
    for node in graph.nodes:
        if node.op_type != "Add":
            continue
        makers = [graph.producer(name) for name in node.input]
        user = graph.only_consumer(node.output[0])
        if user is None or user.op_type != "QuantizeLinear":
            continue
        if all(maker is not None and maker.op_type == "DequantizeLinear" for maker in makers):
            first, second = (maker.input[1] for maker in makers if maker is not None)
            yield (first, second), user.input[1]


def _shared_scales(graph: Graph) -> dict[str, int]:
    """Return the group of each scale of an activation, by its name; scales of one group must stay equal."""
    group: dict[str, int] = {}

    def join(first: str, second: str) -> None:
        old, new = group[second], group[first]
        group.update({name: new for name, number in group.items() if number == old})

    scaled = [node for node in graph.nodes if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    scaled = [node for node in scaled if node.input[0] not in graph.constants]
    for node in scaled:
        group.setdefault(node.input[1], len(group))
    for node in scaled:
        source = graph.producer(node.input[0])
        if node.op_type == "DequantizeLinear":
            while source is not None and source.op_type in ("Pad", "Slice"):  # of bytes
                source = graph.producer(source.input[0])
            if source is not None and source.op_type == "QuantizeLinear":
                join(source.input[1], node.input[1])
        elif source is not None and source.op_type in (*MOVING, "Concat"):
            for name in source.input:
                maker = graph.producer(name)
                if maker is not None and maker.op_type == "DequantizeLinear" and _equal(graph, maker, node):
                    join(maker.input[1], node.input[1])
    return group


def _equal(graph: Graph, first: onnx.NodeProto, second: onnx.NodeProto) -> bool:
    return all(
        np.array_equal(graph.constants[a], graph.constants[b]) for a, b in zip(first.input[1:], second.input[1:], strict=True)
    )


def _is_pixels(graph: Graph, scale: str) -> bool:
    """Return whether a scale is that of pixels at input or output of the graph."""
    if not np.all(graph.constants[scale] == PIXEL_SCALE):
        return False
    users = graph.consumers(scale)
    return any(graph.input.name in user.input or graph.output.name in user.output for user in users)


def _number(graph: Graph, name: str) -> float:
    return float(graph.constants[name].reshape(-1)[0])
