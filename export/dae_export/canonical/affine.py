"""Fold biases and batch normalization into adjacent layers, exactly, including image borders.

A normalization at inference is u = s t + h per channel. It is folded in one of two ways:

1. Into the previous layer t = W x + b:   u = (s W) x + (s b + h). Always exact.
2. Into the following layers, after an activation:   W u = (W s) t + W h.
   With zero padding, u is 0 outside the image, so W h is not constant at the border. Instead the previous layer gets an extra
   channel of constant value c > 0 (weights 0, bias 1, c = f(1)), with following weights sum_i W_i h_i / c: zero padding of
   that channel gives the exact border.

Others (a normalization of a sum or a concatenation, before a skip connection or a depthwise layer) stay as Mul and Add.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx

from ..graph.model import Array, Graph, attributes
from .dense import is_plain_gemm

Vector = npt.NDArray[np.float64]

CONVOLUTIONS = ("Conv", "ConvTranspose")

_OF_CONSTANT: dict[str, Callable[[float], float]] = {
    # Output of each activation for a positive constant.
    "LeakyRelu": lambda c: c,
    "Relu": lambda c: c,
    "Elu": lambda c: c,
    "Sigmoid": lambda c: 1 / (1 + math.exp(-c)),
    "Tanh": math.tanh,
    "Softplus": lambda c: math.log1p(math.exp(c)),
}


@dataclass(frozen=True)
class _Affine:
    """A chain of nodes that computes `result` = scale * `source` + shift per channel, which is axis 1."""

    nodes: tuple[onnx.NodeProto, ...]
    source: str
    scale: Vector
    shift: Vector

    @property
    def result(self) -> str:
        return str(self.nodes[-1].output[0])


def fold_affine(graph: Graph) -> None:
    """Fold every per-channel scale and shift into adjacent layers where that is exact."""
    for affine in list(_chains(graph)):
        if _fold_into_producer(graph, affine) or _fold_into_consumers(graph, affine):
            for node in affine.nodes:
                graph.remove(node)
            graph.redirect(affine.result, affine.source)
            graph.infer_shapes()
    graph.clean()


# --- matching a scale and shift --------------------------------------------------------------------------------------


def _chains(graph: Graph) -> Iterator[_Affine]:
    taken: set[int] = set()
    for node in graph.nodes:
        step = None if id(node) in taken else _step(graph, node)
        if step is None:
            continue
        source, scale, shift = step
        nodes = [node]
        while (follower := graph.only_consumer(nodes[-1].output[0])) and (step := _step(graph, follower)):
            _, more_scale, more_shift = step
            scale, shift = scale * more_scale, shift * more_scale + more_shift
            nodes.append(follower)
        taken.update(id(member) for member in nodes)
        yield _Affine(tuple(nodes), source, scale, shift)


def _step(graph: Graph, node: onnx.NodeProto) -> tuple[str, Vector, Vector] | None:
    """Return (input tensor, scale, shift) of one node, or None if it is not a scale or shift per channel."""
    if node.op_type == "BatchNormalization":
        return _normalization(graph, node)
    if node.op_type not in ("Mul", "Add", "Sub", "Div"):
        return None
    left, right = graph.constant(node.input[0]), graph.constant(node.input[1])
    if (left is None) == (right is None) or (node.op_type == "Div" and right is None):
        return None
    source = node.input[1] if right is None else node.input[0]
    value = _per_channel(graph, source, left if right is None else right)
    if value is None:
        return None
    one, zero = np.ones_like(value), np.zeros_like(value)
    if node.op_type == "Mul":
        return source, value, zero
    if node.op_type == "Div":
        return source, 1 / value, zero
    if node.op_type == "Add":
        return source, one, value
    return (source, one, -value) if right is not None else (source, -one, value)


def _normalization(graph: Graph, node: onnx.NodeProto) -> tuple[str, Vector, Vector] | None:
    values = [graph.constant(name) for name in node.input[1:]]
    if any(value is None for value in values):
        return None
    gamma, beta, mean, variance = (np.asarray(value, np.float64) for value in values)
    scale = gamma / np.sqrt(variance + attributes(node).get("epsilon", 1e-5))
    return node.input[0], scale, beta - mean * scale


def _per_channel(graph: Graph, tensor: str, value: Array | None) -> Vector | None:
    shape = graph.shapes[tensor]
    if value is None or len(shape) not in (2, 4) or value.ndim > len(shape) or shape[1] is None:
        return None
    aligned = value.reshape((1,) * (len(shape) - value.ndim) + value.shape)
    if any(n != 1 for axis, n in enumerate(aligned.shape) if axis != 1) or aligned.shape[1] not in (1, shape[1]):
        return None
    return np.broadcast_to(aligned.reshape(-1), shape[1]).astype(np.float64)


# --- 1: into the previous layer ---------------------------------------------------------------------------------------


def _fold_into_producer(graph: Graph, affine: _Affine) -> bool:
    layer = graph.producer(affine.source)
    if layer is None or graph.only_consumer(affine.source) is None or not _has_constant_weights(graph, layer):
        return False
    weight = graph.constants[layer.input[1]].astype(np.float64)
    if layer.op_type == "Conv":
        weight *= affine.scale[:, None, None, None]
    elif layer.op_type == "Gemm":
        weight *= affine.scale
    else:  # ConvTranspose: (inputs, outputs / groups, height, width), the inputs group after group
        grouped = weight.reshape(_groups(layer), -1, *weight.shape[1:])
        weight = (grouped * affine.scale.reshape(_groups(layer), 1, -1, 1, 1)).reshape(weight.shape)
    _set_weights(graph, layer, weight, _bias(graph, layer, len(affine.scale)) * affine.scale + affine.shift)
    return True


# --- 2: into the following layers ---------------------------------------------------------------------------------------


def _fold_into_consumers(graph: Graph, affine: _Affine) -> bool:
    users = _layers_after(graph, affine)
    if not users or affine.result == graph.output.name:
        return False
    shifted = bool(affine.shift.any())
    if shifted and any(_is_padded(user) for user in users):
        constant = _add_constant_channel(graph, affine) if all(user.op_type in CONVOLUTIONS for user in users) else None
        if constant is None:
            return False
        for user in users:
            _scale_inputs(graph, user, affine, constant)
        return True
    for user in users:
        _shift_bias(graph, user, affine)
        _scale_inputs(graph, user, affine, None)
    return True


def _layers_after(graph: Graph, affine: _Affine) -> list[onnx.NodeProto]:
    """Return the layers that use the result; none if any other kind of node does."""
    layers: list[onnx.NodeProto] = []
    for user in graph.consumers(affine.result):
        is_flatten = user.op_type == "Reshape" and len(graph.shapes[user.output[0]]) == 2
        found = graph.consumers(user.output[0]) if is_flatten else [user]
        kinds = ("Gemm",) if is_flatten else ("Gemm", *CONVOLUTIONS)
        if not found or any(node.op_type not in kinds or not _has_constant_weights(graph, node) for node in found):
            return []
        layers += found
    return [] if any(_groups(layer) != 1 for layer in layers) else layers


def _add_constant_channel(graph: Graph, affine: _Affine) -> float | None:
    """Add a constant channel to the previous layer; return its value at `affine.source`, None if impossible."""
    activations: list[onnx.NodeProto] = []
    tensor = affine.source
    while (node := graph.producer(tensor)) is not None and graph.only_consumer(tensor) is not None:
        if node.op_type in CONVOLUTIONS:
            break
        if node.op_type not in _OF_CONSTANT:
            return None
        activations.insert(0, node)
        tensor = node.input[0]
    else:
        return None
    if not _has_constant_weights(graph, node) or _groups(node) != 1:
        return None
    weight = graph.constants[node.input[1]]
    outputs_axis = 0 if node.op_type == "Conv" else 1
    bias = _bias(graph, node, weight.shape[outputs_axis])
    widths = [(0, int(axis == outputs_axis)) for axis in range(4)]
    _set_weights(graph, node, np.pad(weight, widths), np.append(bias, 1.0))
    constant = 1.0
    for activation in activations:
        constant = _OF_CONSTANT[activation.op_type](constant)
    return constant


def _scale_inputs(graph: Graph, layer: onnx.NodeProto, affine: _Affine, constant: float | None) -> None:
    """Scale the weights by input channel; with `constant`, add the weights of the constant channel."""
    weight = graph.constants[layer.input[1]].astype(np.float64)
    axis = 1 if layer.op_type == "Conv" else 0
    scaled = weight * _by_input(affine.scale, weight, axis)
    if constant is not None:
        extra = np.sum(weight * _by_input(affine.shift, weight, axis), axis=axis, keepdims=True) / constant
        scaled = np.concatenate([scaled, extra], axis=axis)
    _set_weights(graph, layer, scaled, None)


def _shift_bias(graph: Graph, layer: onnx.NodeProto, affine: _Affine) -> None:
    """Add the constant contribution of the shift to the bias of a layer without padding."""
    if not affine.shift.any():
        return
    weight = graph.constants[layer.input[1]].astype(np.float64)
    axis = 1 if layer.op_type == "Conv" else 0
    outputs_axis = 1 - axis
    others = tuple(a for a in range(weight.ndim) if a != outputs_axis)
    extra = np.sum(weight * _by_input(affine.shift, weight, axis), axis=others)
    _set_weights(graph, layer, weight, _bias(graph, layer, len(extra)) + extra)


def _by_input(values: Vector, weight: Array, axis: int) -> Vector:
    # A dense layer after Flatten has one input per channel and pixel, with the pixels of a channel adjacent.
    repeated = np.repeat(values, weight.shape[axis] // len(values))
    return repeated.reshape([-1 if a == axis else 1 for a in range(weight.ndim)])


def _is_padded(layer: onnx.NodeProto) -> bool:
    """Return whether outputs at the border have fewer inputs."""
    return layer.op_type == "ConvTranspose" or any(attributes(layer).get("pads", []))


# --- layers ----------------------------------------------------------------------------------------------------------


def _has_constant_weights(graph: Graph, layer: onnx.NodeProto) -> bool:
    if layer.op_type == "Gemm":
        return is_plain_gemm(graph, layer)
    constant = all(graph.constant(name) is not None for name in layer.input[1:])
    return layer.op_type in CONVOLUTIONS and constant


def _groups(layer: onnx.NodeProto) -> int:
    return int(attributes(layer).get("group", 1))


def _bias(graph: Graph, layer: onnx.NodeProto, outputs: int) -> Vector:
    value = graph.constants[layer.input[2]] if len(layer.input) > 2 else np.zeros(1)
    return np.broadcast_to(value.reshape(-1), outputs).astype(np.float64)


def _set_weights(graph: Graph, layer: onnx.NodeProto, weight: Array, bias: Vector | None) -> None:
    # New constants: a layer that is called twice shares its weights between two nodes.
    layer.input[1] = graph.add_constant(weight.astype(np.float32), "weight")
    if bias is not None:
        name = graph.add_constant(bias.astype(np.float32), "bias")
        layer.input[2:] = [name]
