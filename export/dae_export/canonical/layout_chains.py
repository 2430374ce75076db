"""Chains of nodes that only move data, replaced by their simplest equivalent.

Converters write one layout change or one nearest-neighbor upsampling as up to nine nodes (Unsqueeze, Tile, Transpose, Reshape,
...). Instead of pattern matching, a chain is run on an array of distinct numbers, and the result compared with a few simple
forms. Equal results mean equal functions at that shape; the parity check verifies other shapes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx

from ..graph.model import TO_NCHW, TO_NHWC, Array, Graph, attributes, make_node

Index = npt.NDArray[np.int64]
Permutation = tuple[int, ...]

KINDS = frozenset({"Identity", "Dropout", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Tile"})


@dataclass(frozen=True)
class _Step:
    """One node of a simple form."""

    kind: str
    permutation: Permutation = ()
    shape: tuple[int, ...] = ()
    scales: tuple[int, int] = (1, 1)

    def apply(self, x: Index) -> Index:
        if self.kind == "Transpose":
            return x.transpose(self.permutation)
        if self.kind == "Reshape":
            return x.reshape(self.shape)
        return x.repeat(self.scales[0], axis=2).repeat(self.scales[1], axis=3)


def simplify_movements(graph: Graph) -> None:
    """Replace each chain of data movements by its simplest form, if there is one."""
    for chain in list(_chains(graph)):
        source, result = chain[0].input[0], chain[-1].output[0]
        numbers = np.arange(np.prod(_static(graph, source)), dtype=np.int64).reshape(_static(graph, source))
        moved = numbers
        for node in chain:
            moved = _run(graph, node, moved)
        form = _simplest(numbers, moved)
        if form is not None:
            _rewrite(graph, chain, source, result, form)
    graph.clean()


def _chains(graph: Graph) -> Iterator[list[onnx.NodeProto]]:
    taken: set[int] = set()
    for node in graph.nodes:
        if id(node) in taken or not _is_movement(graph, node):
            continue
        chain = [node]
        while (follower := graph.only_consumer(chain[-1].output[0])) is not None and _is_movement(graph, follower):
            chain.append(follower)
        taken.update(id(member) for member in chain)
        yield chain


def _is_movement(graph: Graph, node: onnx.NodeProto) -> bool:
    constant_rest = all(graph.constant(name) is not None for name in node.input[1:] if name)
    static = all(None not in graph.shapes.get(name, (None,)) for name in (node.input[0], node.output[0]))
    return node.op_type in KINDS and constant_rest and static and graph.constant(node.input[0]) is None


def _run(graph: Graph, node: onnx.NodeProto, x: Index) -> Index:
    if node.op_type == "Transpose":
        return x.transpose(attributes(node).get("perm") or range(x.ndim)[::-1])
    if node.op_type == "Tile":
        repeats: Array = graph.constants[node.input[1]]
        return np.tile(x, tuple(int(n) for n in repeats))
    return x.reshape(_static(graph, node.output[0]))


def _static(graph: Graph, tensor: str) -> tuple[int, ...]:
    shape = graph.shapes[tensor]
    assert None not in shape, f"{tensor} has no static shape"
    return tuple(n for n in shape if n is not None)


def _simplest(before: Index, after: Index) -> tuple[_Step, ...] | None:
    for form in _forms(before.shape, after.shape):
        moved = before
        for step in form:
            moved = step.apply(moved)
        if np.array_equal(moved, after):
            return form
    return None


def _forms(before: tuple[int, ...], after: tuple[int, ...]) -> Iterator[tuple[_Step, ...]]:
    """Yield candidate forms, simplest first."""
    if len(before) == len(after):
        permutations = itertools.permutations(range(len(before)))  # the identity comes first
        yield from ((_Step("Transpose", p),) if p != tuple(sorted(p)) else () for p in permutations)
        if len(before) == 4:
            yield from _upsamplings(before, after)
    if np.prod(before) != np.prod(after):
        return  # a Tile
    yield (_Step("Reshape", shape=after),)
    entering = [(_Step("Transpose", p), _Step("Reshape", shape=after)) for p in itertools.permutations(range(len(before)))]
    leaving = [
        (_Step("Reshape", shape=tuple(after[p.index(axis)] for axis in range(len(after)))), _Step("Transpose", p))
        for p in itertools.permutations(range(len(after)))
    ]
    # From groups of channels to channels, a Reshape of N, H, W, ... may have free H and W; one of N, ..., H, W may not.
    yield from (*leaving, *entering) if len(before) > len(after) == 4 else (*entering, *leaving)


def _upsamplings(before: tuple[int, ...], after: tuple[int, ...]) -> Iterator[tuple[_Step, ...]]:
    for enter, leave in itertools.product((None, TO_NCHW), (None, TO_NHWC)):
        start = before if enter is None else tuple(before[axis] for axis in enter)
        end = after if leave is None else tuple(after[leave.index(axis)] for axis in range(4))
        if start[:2] == end[:2] and end[2] % start[2] == 0 and end[3] % start[3] == 0:
            resize = _Step("Resize", scales=(end[2] // start[2], end[3] // start[3]))
            steps = (enter and _Step("Transpose", enter), resize, leave and _Step("Transpose", leave))
            yield tuple(step for step in steps if step)


def _rewrite(graph: Graph, chain: Sequence[onnx.NodeProto], source: str, result: str, form: Sequence[_Step]) -> None:
    for node in chain[:-1]:
        graph.remove(node)
    if not form and result == graph.output.name and source == graph.input.name:
        graph.replace(chain[-1], [make_node("Identity", [source], [result])])  # the output of a graph must be computed
        return
    if not form:
        graph.remove(chain[-1])
        graph.redirect(result, source)
        return
    nodes: list[onnx.NodeProto] = []
    tensor = source
    for i, step in enumerate(form):
        output = result if i == len(form) - 1 else graph.fresh_name(f"{result}_{i}")
        nodes.append(_node(graph, step, tensor, output))
        tensor = output
    graph.replace(chain[-1], nodes)
    graph.infer_shapes()


def _node(graph: Graph, step: _Step, source: str, output: str) -> onnx.NodeProto:
    if step.kind == "Transpose":
        return make_node("Transpose", [source], [output], perm=step.permutation)
    if step.kind == "Reshape":
        return make_node("Reshape", [source, graph.add_constant(np.array(step.shape, np.int64), "shape")], [output])
    scales = graph.add_constant(np.array([1, 1, *step.scales], np.float32), "scales")
    modes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return make_node("Resize", [source, "", scales], [output], **modes)
