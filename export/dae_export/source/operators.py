"""Operators of TensorFlow that tf2onnx does not know, or converts wrongly, written in standard ONNX.

Erfc, of GELU     erfc(x) = 1 - erf(x)
Expm1, of CELU    expm1(x) = exp(x) - 1
ScaleAndTranslate, ResizeArea: resizing with Lanczos, antialiasing or area
                  y = A x B' with a matrix for each axis, or mean pooling where they are that
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from ..errors import ConversionError
from ..graph.model import TO_NCHW, TO_NHWC, Array, attributes, make_node

DOMAIN = "tensorflow"
RESIZED = ("ResizeArea", "ScaleAndTranslate")
KEPT = ("Erfc", "Expm1", *RESIZED)


def keep_operators() -> dict[str, Any]:
    """Return the handlers by which tf2onnx keeps the operators of `KEPT` in the domain `DOMAIN`, with their input shape."""

    def keep(context: Any, node: Any, _name: str, _arguments: Any) -> None:
        node.domain = DOMAIN
        node.set_attr("shape", context.get_shape(node.input[0]))

    return {kind: (keep, []) for kind in KEPT}


def write_standard(proto: onnx.ModelProto, fixed_size: bool) -> None:
    """Replace the kept operators, in place.

    Args:
        proto: A model converted at a static shape, with the handlers of `keep_operators`.
        fixed_size: Whether the network has a fixed image size.

    Raises:
        ConversionError: One of them has no ONNX form for free image sizes.
    """
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    for index, node in reversed(list(enumerate(proto.graph.node))):
        if node.domain != DOMAIN:
            continue
        nodes, added = _resized(node, constants, fixed_size) if node.op_type in RESIZED else _written(node)
        del proto.graph.node[index]
        for place, new in enumerate(nodes):
            proto.graph.node.insert(index + place, new)
        proto.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in added.items())


_Written = tuple[list[onnx.NodeProto], dict[str, Array]]
"""Nodes, and the constants that they read."""


def _written(node: onnx.NodeProto) -> _Written:
    one, inner = f"{node.output[0]}/one", f"{node.output[0]}/inner"
    kind, order = ("Erf", [one, inner]) if node.op_type == "Erfc" else ("Exp", [inner, one])
    return [make_node(kind, node.input, [inner]), make_node("Sub", order, node.output)], {one: np.ones((), np.float32)}


def _resized(node: onnx.NodeProto, constants: dict[str, Array], fixed_size: bool) -> _Written:
    """Resize N x H x W x C."""
    values = attributes(node)
    if not fixed_size:
        way = "area" if node.op_type == "ResizeArea" else values["kernel_type"] + " and antialias" * bool(values["antialias"])
        raise ConversionError(
            f"resizing by interpolation {way} has an ONNX form for fixed image sizes only. Fix the height and width of the "
            "model's input, or use bilinear or bicubic without antialias."
        )
    rows, columns = (_matrix(node, [constants[name] for name in node.input[1:]], axis) for axis in range(2))
    image, wide, high, left, right = (f"{node.output[0]}/{name}" for name in ("image", "wide", "high", "left", "right"))
    enter = make_node("Transpose", [node.input[0]], [image], perm=TO_NCHW)
    leave = make_node("Transpose", [high], node.output, perm=TO_NHWC)
    if kernel := _pooling(rows, columns):
        return [enter, make_node("AveragePool", [image], [high], kernel_shape=kernel, strides=kernel), leave], {}
    nodes = [enter, make_node("MatMul", [image, right], [wide]), make_node("MatMul", [left, wide], [high]), leave]
    return nodes, {left: rows, right: np.ascontiguousarray(columns.T[None])}


def _matrix(node: onnx.NodeProto, rest: list[Array], axis: int) -> Array:
    """Return the weights along one axis, (positions after, positions before), which TensorFlow computes from unit vectors."""
    import tensorflow

    values = attributes(node)
    length = values["shape"][1 + axis]
    units, size = np.eye(length, dtype=np.float32).reshape(1, length, 1, length), np.array([rest[0][axis], 1], np.int32)
    if node.op_type == "ResizeArea":
        moved = tensorflow.raw_ops.ResizeArea(images=units, size=size)
    else:
        scale, shift = np.array([rest[1][axis], 1], np.float32), np.array([rest[2][axis], 0], np.float32)
        ways = {"kernel_type": values["kernel_type"], "antialias": bool(values["antialias"])}
        moved = tensorflow.raw_ops.ScaleAndTranslate(images=units, size=size, scale=scale, translation=shift, **ways)
    return np.asarray(moved, np.float32).reshape(-1, length)


def _pooling(rows: Array, columns: Array) -> list[int] | None:
    """Return the window of the mean pooling that two matrices compute together; None if they do not."""
    kernel = [matrix.shape[1] // len(matrix) for matrix in (rows, columns)]
    for matrix, side in zip((rows, columns), kernel, strict=True):
        pooling = np.repeat(np.eye(len(matrix)), side, axis=1) / max(side, 1)
        if pooling.shape != matrix.shape or not np.allclose(pooling, matrix, atol=1e-6):
            return None
    return kernel
