"""The first layer of a network that is given the noise level: it computes in float32, and exactly.

Such a network is told weak noise, too. Eight bits over the range of the image and of the first features round away a part of
what it has to see: 0.08 dB of PSNR on finished photographs, 0.13 dB where the range is that of images with noise beyond 0..1.

Sums of floats usually depend on their order, and so on the processor. These do not: the image is rounded to multiples of
1 / `STEPS` and counted in them, weights and biases are rounded to multiples of a power of two, and every sum of products, in
any order, is a multiple of it below 2^24, which float32 has room for. Pixels of 8 bits stay exact. What the level adds comes
out of two dense layers, which processors may round differently in the last bit: it is rounded to a part of the sum's step.

Source:
    IEEE 754-2019, 3.3: the significand of binary32 has 24 bits.
"""

from __future__ import annotations

import numpy as np
import onnx

from ..graph.model import Array, Graph, make_node
from ..graph.residual import residual_sum
from .scales import MOVING

STEPS = 1020.0
"""Of the image from black to white: 4 for each step of 8-bit pixels."""
LARGEST = 2.0
"""The largest pixel, of either sign, for which sums are exact; white is 1."""
_ROOM = 2.0**24
_PARTS = 4
"""Of a quantization step, to which what the level adds is rounded."""


def first_layer(graph: Graph) -> list[str]:
    """Return the names of the nodes of the first layer, from the image to the sum with what the level adds; in float.

    Empty for a network that is not given the level, or that is not residual: its image has 8 bits anyway.
    """
    convolutions = _first_convolutions(graph)
    levels = graph.of_sigma()
    names = [node.name for convolution in convolutions for node in _before(graph, convolution)]
    for convolution in convolutions:
        names.append(convolution.name)
        if (total := _level_sum(graph, convolution, levels)) is not None:
            names.append(total.name)
    return list(dict.fromkeys(names))


def make_exact(graph: Graph) -> None:
    """Let the float first layer of a graph compute the same on every processor, in place."""
    convolutions = _first_convolutions(graph)
    if not convolutions:
        return
    path = {id(node): node for convolution in convolutions for node in (*_before(graph, convolution), convolution)}
    readers = [node for node in path.values() if graph.input.name in node.input]
    scaled, counted = (graph.fresh_name(name) for name in ("scaled", "counted"))
    steps = graph.add_constant(np.array(STEPS, np.float32), "steps")
    count = [
        make_node("Mul", [graph.input.name, steps], [scaled], name="to_steps"),
        make_node("Round", [scaled], [counted], name="whole_steps"),
    ]
    graph.insert_before(readers[0], count)
    for node in readers:
        node.input[:] = [counted if name == graph.input.name else name for name in node.input]
    for convolution in convolutions:
        weights = graph.constants[convolution.input[1]].astype(np.float64) / STEPS
        has_bias = len(convolution.input) > 2
        bias = graph.constants[convolution.input[2]].astype(np.float64) if has_bias else np.zeros(len(weights))
        rounded = common_steps(weights, bias)
        for index, value in enumerate(rounded[: 2 if has_bias else 1], 1):
            convolution.input[index] = graph.add_constant(value, convolution.input[index])
        total = _level_sum(graph, convolution, graph.of_sigma())
        if total is not None:
            _round_level(graph, total)
    graph.clean()


def undo_steps(graph: Graph) -> None:
    """Let the first layer of an exact graph read the image itself again, in place: a float graph needs no steps."""
    for node in [node for node in graph.nodes if node.op_type == "Round"]:
        scaled = graph.producer(node.input[0])
        if scaled is None or scaled.op_type != "Mul" or graph.constants.get(scaled.input[1]) != np.float32(STEPS):
            continue
        moved = set(node.output)
        for user in graph.nodes:
            if user.input[0] in moved and user.op_type in (*MOVING, "Pad"):
                moved.update(user.output)
            elif user.input[0] in moved and user.op_type == "Conv":
                weights = graph.constants[user.input[1]] * np.float32(STEPS)
                user.input[1] = graph.add_constant(weights, user.input[1])
        graph.bypass(node)
        graph.bypass(scaled)


def _round_level(graph: Graph, total: onnx.NodeProto) -> None:
    """Round what the level adds to a sum that is quantized next, to multiples of a power of two."""
    user = graph.only_consumer(total.output[0])
    if user is None or user.op_type != "QuantizeLinear":
        return
    added = next(name for name in total.input if name in graph.of_sigma())
    step = 2.0 ** np.floor(np.log2(float(graph.constants[user.input[1]].max()) / _PARTS))
    names = [graph.fresh_name(name) for name in ("level_scaled", "level_counted", "level_rounded")]
    finer, coarser = (graph.add_constant(np.array(value, np.float32), "level_step") for value in (1 / step, step))
    graph.insert_before(
        total,
        [
            make_node("Mul", [added, finer], [names[0]], name="level_to_steps"),
            make_node("Round", [names[0]], [names[1]], name="level_whole_steps"),
            make_node("Mul", [names[1], coarser], [names[2]], name="level_from_steps"),
        ],
    )
    total.input[:] = [names[2] if name == added else name for name in total.input]


def _level_sum(graph: Graph, convolution: onnx.NodeProto, levels: set[str]) -> onnx.NodeProto | None:
    """Return the node that adds what the level gives to a convolution; None if there is none."""
    total = graph.only_consumer(convolution.output[0])
    is_sum = total is not None and total.op_type == "Add" and bool(levels.intersection(total.input))
    return total if is_sum else None


def common_steps(weights: Array, bias: Array) -> tuple[Array, Array]:
    """Return weights and bias, rounded for each output channel to the finest multiples of a power of two.

    Args:
        weights: (O, ...), for an image that is counted in steps.
        bias: (O,).
    """
    largest = LARGEST * STEPS * np.abs(weights).reshape(len(weights), -1).sum(1) + np.abs(bias)
    rounding = LARGEST * STEPS * weights[0].size / 2 + 1  # in steps: half of one for each weight
    room = max(_ROOM - rounding, _ROOM / 2)
    step = 2.0 ** np.ceil(np.log2(np.maximum(largest / room, np.finfo(np.float32).tiny)))
    wide = step.reshape(-1, *(1 for _ in weights.shape[1:]))
    return (np.rint(weights / wide) * wide).astype(np.float32), (np.rint(bias / step) * step).astype(np.float32)


def _first_convolutions(graph: Graph) -> list[onnx.NodeProto]:
    """Return the float convolutions that read the image, moved at most; empty where the layer shall not be in float."""
    if graph.sigma is None or residual_sum(graph) is None:
        return []
    found, moved = [], {graph.input.name}
    for node in graph.nodes:
        if node.input and node.input[0] in moved:
            if node.op_type in MOVING:
                moved.update(node.output)
            elif node.op_type == "Conv" and node.input[1] in graph.constants:
                found.append(node)
    return found


def _before(graph: Graph, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Return the nodes that move the image to a convolution, the first one first."""
    maker = graph.producer(node.input[0])
    return [] if maker is None else [*_before(graph, maker), maker]
