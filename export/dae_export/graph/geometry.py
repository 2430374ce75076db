"""Alignment and receptive field of a graph.

Every node of a fully convolutional graph maps positions along height and width independently, so each axis is analyzed by
itself. From one output pixel backwards, the exact set of positions that it reads is propagated through the nodes, including
strides, transposed convolutions and branches. The sets are periodic in the alignment, so one period of output pixels suffices.

Positions of an intermediate tensor outside the image are zero padding. A tile of a larger image must therefore contain every
position that is read, not only every input pixel: each position counts as the pixel at its place.

A tensor whose height and width are known although the image size is free holds no pixels: means of a whole image, the noise
level, and what is made of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import onnx

from dae_runtime.contract import ImageSpec

from ..errors import ConversionError
from .model import ELEMENTWISE, Graph, attributes

Positions = frozenset[int]

POINTWISE = ELEMENTWISE | {"Add", "Sub", "Mul", "Div", "Neg", "Abs", "Max", "Min", "PRelu", "Identity", "Concat", "Cast"}
POINTWISE |= {"BatchNormalization", "QuantizeLinear", "DequantizeLinear", "Transpose", "Sqrt", "Pow", "Exp", "Log", "Erf"}
POINTWISE |= {"Reciprocal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "Where", "And", "Or", "Not", "Sign"}
POINTWISE |= {"Round", "Floor", "Ceil", "IsNaN"}
ALONG_AXES = frozenset(
    {"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "Softmax", "LogSoftmax", "TopK", "CumSum", "Split"}
)
"""Nodes that treat pixels apart unless their axis is height or width."""
WINDOWS = frozenset({"Conv", "MaxPool", "AveragePool"})
LARGEST_MULTIPLE = 64
"""Of the alignment, for the smallest image whose padding by reflection and crops fit."""


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
    sizes = [_sizes(graph, axis) for axis in range(2)]
    alignment = math.lcm(*(size.scale.denominator for axis in sizes for size in axis.values()))
    alignment *= _least_multiple(graph, sizes, alignment)
    if any(_reads_all(graph, node) for node in graph.nodes):
        return ImageSpec(channels or 1, alignment)
    reaches = [_reach(graph, axis, sizes[axis], pixel) for axis in range(2) for pixel in range(alignment)]
    return ImageSpec(channels or 1, alignment, max(reaches))


# --- size of a tensor along one axis ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Size:
    """The size scale n + extra of a tensor for images of size n."""

    scale: Fraction = Fraction(1)
    extra: Fraction = Fraction(0)

    def __str__(self) -> str:
        return f"{self.scale} n {'+' if self.extra >= 0 else '-'} {abs(self.extra)}" if self.extra else f"{self.scale} n"


def _holds_pixels(graph: Graph, name: str) -> bool:
    return len(_pixel_axes(graph, name)) == 2


def _pixel_axes(graph: Graph, name: str) -> list[int]:
    """Return the axes of free length, without the first."""
    return [axis for axis, length in enumerate(graph.shapes.get(name, ())) if axis and length is None]


def _sizes(graph: Graph, axis: int) -> dict[str, _Size]:
    sizes = {graph.input.name: _Size()}
    for node in graph.nodes:
        if not _holds_pixels(graph, node.output[0]):
            if node.op_type == "Reshape" and _holds_pixels(graph, node.input[0]):
                raise ConversionError(
                    f"node {node.name}: the model reshapes images by their size. Fix the height and width of its input."
                )
            continue
        found = {sizes[name] for name in node.input if name in sizes}
        if len(found) != 1:
            texts = ", ".join(sorted(map(str, found))) or "none"
            raise ConversionError(f"node {node.name}: expected inputs of one size, received {texts} for images of size n.")
        sizes |= dict.fromkeys(node.output, _size_after(graph, node, axis, found.pop()))
    end = sizes.get(graph.output.name)
    if end is None or end.scale != 1:
        size = "a fixed size" if end is None else f"{end.scale} times the size"
        raise ConversionError(f"the model returns images of {size}; expected the same size.")
    if end.extra:
        raise ConversionError(
            f"the model returns images of size {end} for size n; expected the same size. Use padding='same' in every layer, "
            "or layers that pad as much as others crop."
        )
    return sizes


def _size_after(graph: Graph, node: onnx.NodeProto, axis: int, size: _Size) -> _Size:
    values = attributes(node)
    kind, scale, extra = node.op_type, size.scale, size.extra
    if (
        kind in POINTWISE
        or (kind in ALONG_AXES and not (kind == "Split" and _reads_all(graph, node)))
        or (kind == "Reshape" and _splits_channels(graph, node))
    ):
        return size
    if kind in WINDOWS:
        window = _Window.of(node, axis)
        return _Size(scale / window.stride, Fraction((extra + window.total_pads - window.span) // window.stride + 1))
    if kind == "ConvTranspose":
        window = _Window.of(node, axis)
        more = window.span + values.get("output_padding", [0, 0])[axis] - window.total_pads - window.stride
        return _Size(scale * window.stride, extra * window.stride + more)
    if kind in ("DepthToSpace", "SpaceToDepth", "Resize"):
        factor = _factor(graph, node, axis)
        if (extra * factor).denominator == 1:
            return _Size(scale * factor, extra * factor)
    if kind == "Pad" and (pads := _pads(graph, node, axis)) is not None:
        return _Size(scale, extra + sum(pads))
    if kind == "Slice" and (crop := _crop(graph, node, axis)) is not None:
        return _Size(scale, extra - sum(crop))
    raise ConversionError(
        f"node {node.name}: the reach of {kind} in a model of free image size is unknown. Expected convolutions, their "
        "transposes, pooling, resizing and elementwise layers; fix the height and width of the model's input otherwise."
    )


def _factor(graph: Graph, node: onnx.NodeProto, axis: int) -> Fraction:
    if node.op_type == "Resize":
        return Fraction(float(graph.constants[node.input[2]][2 + axis])).limit_denominator(64)
    block = attributes(node)["blocksize"]
    return Fraction(block) if node.op_type == "DepthToSpace" else Fraction(1, block)


def _splits_channels(graph: Graph, node: onnx.NodeProto) -> bool:
    """Return whether a Reshape keeps batch, height and width in their places."""
    wanted = graph.constants[node.input[1]]
    axes = _pixel_axes(graph, node.input[0])
    return axes == [1, 2] and len(wanted) > 2 and not wanted[:3].any()


def _pads(graph: Graph, node: onnx.NodeProto, axis: int) -> tuple[int, int] | None:
    """Return what a Pad adds before and after; None if it is computed, or changes another axis."""
    pads, axes = graph.constant(node.input[1]), _pixel_axes(graph, node.input[0])
    if pads is None or len(node.input) > 3:
        return None
    begins, ends = np.split(pads, 2)
    return int(begins[axes[axis]]), int(ends[axes[axis]])


def _crop(graph: Graph, node: onnx.NodeProto, axis: int) -> tuple[int, int] | None:
    """Return what a Slice removes before and after, along height or width; None if it is another kind of slice."""
    constants = [graph.constant(name) for name in node.input[1:]]
    if len(constants) < 3 or any(value is None for value in constants):
        return None
    starts, ends, axes, *steps = (np.asarray(value).tolist() for value in constants)
    shape = graph.shapes[node.input[0]]
    wanted = _pixel_axes(graph, node.input[0])[axis]
    for start, end, at, step in zip(starts, ends, axes, *(steps or [[1] * len(axes)]), strict=True):
        if at % len(shape) == wanted:
            last = np.iinfo(np.int32).max
            return (start, 0 if end >= last else -end) if step == 1 and start >= 0 and (end < 0 or end >= last) else None
    return 0, 0


def _reads_all(graph: Graph, node: onnx.NodeProto) -> bool:
    """Return whether a node joins all pixels of an image, or of a row or column."""
    pixels = next((name for name in node.input if _holds_pixels(graph, name)), None)
    if pixels is None or node.op_type == "Shape":
        return False
    if not _holds_pixels(graph, node.output[0]):
        return True
    if node.op_type not in ALONG_AXES:
        return False
    axis = graph.constants[node.input[1]].tolist() if node.op_type == "CumSum" else attributes(node).get("axis", -1)
    axes = axis if isinstance(axis, list) else [axis]
    rank = len(graph.shapes[pixels])
    return not node.op_type.startswith("Reduce") and any(one % rank in _pixel_axes(graph, pixels) for one in axes)


def _least_multiple(graph: Graph, sizes: list[dict[str, _Size]], alignment: int) -> int:
    """Return the multiple of the alignment at which every tensor has pixels, and enough of them to be reflected."""
    needed = [(size, 1) for axis in sizes for size in axis.values()]
    for node in graph.nodes:
        if node.op_type == "Pad" and attributes(node).get("mode") == "reflect" and _holds_pixels(graph, node.output[0]):
            needed += [(sizes[a][node.input[0]], max(_pads(graph, node, a) or (0,)) + 1) for a in range(2)]
    for multiple in range(1, LARGEST_MULTIPLE + 1):
        if all(size.scale * alignment * multiple + size.extra >= least for size, least in needed):
            return multiple
    raise ConversionError("the model pads by reflection or crops more than its images have. Fix its height and width.")


# --- reach: positions that a position reads ---------------------------------------------------------------------------


def _reach(graph: Graph, axis: int, sizes: dict[str, _Size], pixel: int) -> int:
    read: dict[str, set[int]] = {graph.output.name: {pixel}}
    for node in reversed(graph.nodes):
        if not _holds_pixels(graph, node.output[0]):
            continue
        wanted = frozenset().union(*(read.get(name, set()) for name in node.output))
        sources = _sources(graph, node, axis, wanted)
        for name in node.input:
            if name in sizes:
                read.setdefault(name, set()).update(sources)
    ends = [(sizes[name], min(positions), max(positions)) for name, positions in read.items() if positions]
    # For a tile from pixel a on, a tensor holds the positions from scale a on, and `extra` more than its share at the end.
    reaches = [
        max(pixel - math.floor(first / size.scale), math.floor((last - size.extra) / size.scale) - pixel)
        for size, first, last in ends
    ]
    return max(0, *reaches)


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
    if kind == "Pad":
        begin, _ = _pads(graph, node, axis) or (0, 0)
        return frozenset(o - begin for o in wanted)
    if kind == "Slice":
        start, _ = _crop(graph, node, axis) or (0, 0)
        return frozenset(o + start for o in wanted)
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
