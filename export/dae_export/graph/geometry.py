"""Alignment and receptive field of a graph.

Every node of a fully convolutional graph maps positions along height and width independently, so each axis is analyzed by
itself. From one output pixel backwards, the exact set of positions that it reads is propagated through the nodes, including
strides, transposed convolutions and branches. The sets are periodic in the alignment, so one period of output pixels suffices.

Positions of an intermediate tensor outside the image are zero padding. A tile of a larger image must therefore contain every
position that is read, not only every input pixel: each position counts as the pixel at its place.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import onnx

from dae_runtime.contract import ImageSpec

from ..errors import ConversionError
from .model import ELEMENTWISE, Graph, attributes

Positions = frozenset[int]

POINTWISE = ELEMENTWISE | {"Add", "Sub", "Mul", "Div", "Neg", "Abs", "Max", "Min", "PRelu", "Identity", "Concat", "Cast"}
POINTWISE |= {
    "BatchNormalization",
    "QuantizeLinear",
    "DequantizeLinear",
    "Transpose",
    "Sqrt",
    "Pow",
    "Exp",
    "Erf",
    "Reciprocal",
}
WINDOWS = frozenset({"Conv", "MaxPool", "AveragePool"})
GLOBAL = frozenset({"GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"})


def image_spec(graph: Graph) -> ImageSpec:
    """Return the images that a graph accepts, and the reach of an output pixel.

    Args:
        graph: A graph in canonical form, N x H x W x C at input and output. With fixed height and width it is assumed to read
            the whole image.

    Raises:
        ConversionError: The reach of a node is unknown, or the graph changes aligned image sizes.
    """
    _, height, width, channels = graph.shapes[graph.input.name]
    if height and width:
        return ImageSpec(channels or 1, fixed_size=(height, width))
    scales = [_scales(graph, axis) for axis in range(2)]
    alignment = _alignment(scales)
    if any(node.op_type in GLOBAL for node in graph.nodes):
        return ImageSpec(channels or 1, alignment)
    reaches = [_reach(graph, axis, scales[axis], pixel) for axis in range(2) for pixel in range(alignment)]
    return ImageSpec(channels or 1, alignment, max(reaches))


# --- scale: positions of a tensor per pixel of the image --------------------------------------------------------------


def _scales(graph: Graph, axis: int) -> dict[str, Fraction]:
    scales, levels = {graph.input.name: Fraction(1)}, graph.of_sigma()
    for node in graph.nodes:
        if levels.intersection(node.output):
            continue  # of the noise level alone, which has no size
        found = {scales[name] for name in node.input if name in scales}
        if len(found) != 1:
            raise ConversionError(f"node {node.name}: expected inputs of one image size, received {sorted(found)} of it.")
        scales |= dict.fromkeys(node.output, found.pop() * _factor(graph, node, axis))
    if scales[graph.output.name] != 1:
        factor = scales[graph.output.name]
        raise ConversionError(f"the model returns images of {factor} times the size; expected the same size.")
    return scales


def _alignment(scales: list[dict[str, Fraction]]) -> int:
    return math.lcm(*(scale.denominator for axis in scales for scale in axis.values()))


def _factor(graph: Graph, node: onnx.NodeProto, axis: int) -> Fraction:
    values = attributes(node)
    kind = node.op_type
    if kind in POINTWISE or kind in GLOBAL:
        return Fraction(1)
    if kind in WINDOWS:
        window = _Window.of(node, axis)
        _require(node, window.total_pads == max(window.span - window.stride, 0))
        return Fraction(1, window.stride)
    if kind == "ConvTranspose":
        window = _Window.of(node, axis)
        _require(node, window.span + values.get("output_padding", [0, 0])[axis] - window.total_pads == window.stride)
        return Fraction(window.stride)
    if kind in ("DepthToSpace", "SpaceToDepth"):
        return Fraction(values["blocksize"]) if kind == "DepthToSpace" else Fraction(1, values["blocksize"])
    if kind == "Resize":
        return Fraction(float(graph.constants[node.input[2]][2 + axis])).limit_denominator(64)
    raise ConversionError(
        f"node {node.name}: the reach of {kind} in a model of free image size is unknown. Expected convolutions, their "
        "transposes, pooling, resizing and elementwise layers; fix the height and width of the model's input otherwise."
    )


def _require(node: onnx.NodeProto, same: bool) -> None:
    if not same:
        raise ConversionError(
            f"node {node.name}: {node.op_type} changes the image size by more than its stride. "
            "Expected padding='same' in every layer of a model with free height and width."
        )


# --- reach: positions that a position reads ---------------------------------------------------------------------------


def _reach(graph: Graph, axis: int, scales: dict[str, Fraction], pixel: int) -> int:
    read: dict[str, set[int]] = {graph.output.name: {pixel}}
    for node in reversed(graph.nodes):
        wanted = frozenset().union(*(read.get(name, set()) for name in node.output))
        sources = _sources(graph, node, axis, wanted)
        for name in node.input:
            if name in scales:
                read.setdefault(name, set()).update(sources)
    return max(
        abs(math.floor(position / scales[name]) - pixel) for name, positions in read.items() for position in _ends(positions)
    )


def _ends(positions: set[int]) -> tuple[int, ...]:
    return (min(positions), max(positions)) if positions else ()


def _sources(graph: Graph, node: onnx.NodeProto, axis: int, wanted: Positions) -> Positions:
    kind, values = node.op_type, attributes(node)
    if kind in WINDOWS:
        return _each(wanted, _Window.of(node, axis).read_by)
    if kind == "ConvTranspose":
        return _each(wanted, _Window.of(node, axis).spread_to)
    if kind == "DepthToSpace":
        return frozenset(o // values["blocksize"] for o in wanted)
    if kind == "SpaceToDepth":
        return _each(wanted, lambda o: range(o * values["blocksize"], (o + 1) * values["blocksize"]))
    if kind == "Resize":
        return _each(wanted, lambda o: _resized(values, _factor(graph, node, axis), o))
    return wanted


def _each(wanted: Positions, sources: Callable[[int], Any]) -> Positions:
    return frozenset(i for o in wanted for i in sources(o))


@dataclass(frozen=True)
class _Window:
    """A sliding window along one axis."""

    kernel: int
    stride: int
    dilation: int
    begin: int
    total_pads: int

    @classmethod
    def of(cls, node: onnx.NodeProto, axis: int) -> _Window:
        values = attributes(node)
        pads = values["pads"]
        dilation = values.get("dilations", [1, 1])[axis]
        return cls(values["kernel_shape"][axis], values["strides"][axis], dilation, pads[axis], pads[axis] + pads[axis + 2])

    @property
    def span(self) -> int:
        return (self.kernel - 1) * self.dilation + 1

    def read_by(self, output: int) -> range:
        """Return the inputs of a convolution's output: i = o s - begin + tap d."""
        first = output * self.stride - self.begin
        return range(first, first + self.span, self.dilation)

    def spread_to(self, output: int) -> list[int]:
        """Return the inputs of a transposed convolution's output: o = i s - begin + tap d."""
        shifted = (output + self.begin - tap * self.dilation for tap in range(self.kernel))
        return [position // self.stride for position in shifted if position % self.stride == 0]


def _resized(values: dict[str, Any], scale: Fraction, output: int) -> list[int]:
    """Return the inputs of a resized position. Source: https://onnx.ai/onnx/operators/onnx__Resize.html"""
    center = Fraction(output) / scale
    if values.get("coordinate_transformation_mode", "half_pixel") != "asymmetric":
        center = (output + Fraction(1, 2)) / scale - Fraction(1, 2)
    low = math.floor(center)
    if values.get("mode", "nearest") == "nearest" and values.get("nearest_mode") == "floor":
        return [low]
    width = 2 if values.get("mode") == "cubic" else 1
    return list(range(low - width + 1, low + 1 + width))
