"""Static check that an INT8 file gives the same integers on every processor.

On x86 without VNNI, onnxruntime multiplies unsigned data by signed weights with `vpmaddubsw`, which adds two neighboring
products in *saturating* 16 bits before it widens the sum. Two weights of one sign can pass 32767 only if |w1| + |w2| > 128
(255 * 128 = 32640, 255 * 129 = 32895), of different signs never. A file without such a pair is exact with all kernels: other
sums use 32 bits.

Neighbors are adjacent in the packed order of the engine: along kernel row, kernel column and input channel for a convolution,
along the inner dimension for Gemm and MatMul. With an odd number of input channels, a pair can span two kernel positions, so
the pairs within each position count too; for a depthwise kernel any two weights count.

Source:
    Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, VPMADDUBSW.
    https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html#when-and-why-do-i-need-to-try-u8u8
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from dae_runtime.contract import EXACT_PAIR_LIMIT
from dae_runtime.errors import ModelError
from dae_runtime.system.paths import read_regular, reason_of

from ..errors import GateError
from ..graph.model import Array, attributes

UNPROVED = 2 * 128
"""Largest sum of two unknown signed 8-bit weights, for computed weights."""
_WEIGHT_INPUT = {
    **dict.fromkeys(("Conv", "Gemm", "MatMul", "ConvInteger", "MatMulInteger"), 1),
    **dict.fromkeys(("QLinearConv", "QLinearMatMul", "QGemm"), 3),
}
"""Kinds with integer kernels, and the index of the weight input."""

Pairs = npt.NDArray[np.intp]


@dataclass(frozen=True)
class LayerSums:
    """Largest sums of neighboring products of a layer."""

    name: str
    """Name of the node."""
    kind: str
    """Kind of the node: `Conv`, `Gemm`, ..."""
    worst: int
    """Largest |w1| + |w2| of two neighboring weights of one sign."""
    channels: int
    """Output channels with a pair above the limit."""

    @property
    def exact(self) -> bool:
        """Whether no sum depends on the processor."""
        return self.worst <= EXACT_PAIR_LIMIT


def check_sums(model: onnx.ModelProto | bytes | str | os.PathLike[str]) -> list[LayerSums]:
    """Return the pair sums of every layer with signed 8-bit weights, in graph order.

    Args:
        model: A model, its content, or the path of any ONNX file.

    Raises:
        ModelError: The file cannot be read.
    """
    graph = load_model(model).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    constants |= {
        n.output[0]: n.attribute[0].t for n in graph.node if n.op_type == "Constant" and n.attribute[0].name == "value"
    }
    makers = {name: node for node in graph.node for name in node.output}
    found = []
    for node in graph.node:
        index = _WEIGHT_INPUT.get(node.op_type)
        if index is None or len(node.input) <= index:
            continue
        name = node.input[index]
        maker = makers.get(name)
        if maker is not None and maker.op_type == "DequantizeLinear":
            name = maker.input[0]
        elif node.op_type in ("Conv", "Gemm", "MatMul"):
            continue  # in float
        tensor = constants.get(name)
        if tensor is None and maker is not None and _is_unsigned(maker, constants):
            continue  # of two activations: exact kernels
        if tensor is None:
            found.append(LayerSums(node.name, node.op_type, UNPROVED, 0))
        elif tensor.data_type == onnx.TensorProto.INT8:  # unsigned weights use exact but slower kernels
            sums = worst_sums(numpy_helper.to_array(tensor), node)
            found.append(LayerSums(node.name, node.op_type, int(sums.max(initial=0)), int((sums > EXACT_PAIR_LIMIT).sum())))
    return found


def is_exact(model: onnx.ModelProto | bytes | str | os.PathLike[str]) -> bool:
    """Return whether a file gives the same integers on every processor; also true without integer layers.

    Raises:
        ModelError: The file cannot be read.
    """
    return all(layer.exact for layer in check_sums(model))


def require_exact(model: onnx.ModelProto) -> None:
    """Check that a model gives the same integers on every processor.

    Raises:
        GateError: It does not.
    """
    failing = [layer for layer in check_sums(model) if not layer.exact]
    if failing:
        worst = max(failing, key=lambda layer: layer.worst)
        raise GateError(
            f"the INT8 model is not exact on every processor: neighboring weights of {worst.name} ({worst.kind}) sum to "
            f"{worst.worst}, expected at most {EXACT_PAIR_LIMIT} ({len(failing)} layers exceed it). Replace this layer, or "
            "export without --quantize."
        )


def worst_sums(weights: Array, node: onnx.NodeProto) -> Array:
    """Return for each output channel the largest sum of two neighboring weights of one sign.

    Args:
        weights: Integers as the node stores them: (O, I / group, kH, kW) of a convolution, (K, N) or (N, K) of a product.
        node: Node of the weights.
    """
    rows = as_rows(np.asarray(weights).astype(np.int64), node)
    return worst_row_sums(rows, neighbors(np.asarray(weights).shape, node))


def as_rows(weights: Array, node: onnx.NodeProto) -> Array:
    """Return weights as (output channels, products of one sum), in the packed order of the engine; inverse of `from_rows`.

    A stack of matrices (MatMul) becomes one matrix with more columns.
    """
    if "Conv" in node.op_type:
        return np.moveaxis(weights, 1, -1).reshape(len(weights), -1)
    if _is_transposed(node):
        return weights
    return np.moveaxis(weights, -2, -1).reshape(-1, weights.shape[-2])


def from_rows(rows: Array, shape: tuple[int, ...], node: onnx.NodeProto) -> Array:
    """Return weights of the original shape; inverse of `as_rows`."""
    if "Conv" in node.op_type:
        return np.ascontiguousarray(np.moveaxis(rows.reshape(shape[0], *shape[2:], shape[1]), -1, 1))
    if _is_transposed(node):
        return rows
    return np.ascontiguousarray(np.moveaxis(rows.reshape(*shape[:-2], shape[-1], shape[-2]), -1, -2))


def neighbors(shape: tuple[int, ...], node: onnx.NodeProto) -> Pairs:
    """Return the pairs of columns of `as_rows` that an engine may add in 16 bits, as (pairs, 2).

    Args:
        shape: Shape of the weights.
        node: Node of the weights.
    """
    if "Conv" not in node.op_type:
        return _adjacent(shape[-1 if _is_transposed(node) else -2])
    channels, positions = shape[1], int(np.prod(shape[2:]))
    if channels == 1 and attributes(node).get("group", 1) > 1:
        return np.stack(np.triu_indices(positions, 1), 1)
    pairs = _adjacent(channels * positions)
    if channels % 2 and channels > 1:
        within = np.arange(positions)[:, None, None] * channels + _adjacent(channels)
        pairs = np.unique(np.concatenate([pairs, within.reshape(-1, 2)]), axis=0)
    return pairs


def worst_row_sums(rows: Array, pairs: Pairs) -> Array:
    """Return for each row the largest sum of absolute values of a pair of one sign, or weight."""
    first, second = rows[:, pairs[:, 0]], rows[:, pairs[:, 1]]
    sums = np.maximum(np.maximum(first, 0) + np.maximum(second, 0), np.maximum(-first, 0) + np.maximum(-second, 0))
    alone = np.abs(rows).max(1, initial=0)
    worst: Array = np.maximum(sums.max(1, initial=0), alone)
    return worst


def describe_sums(layers: list[LayerSums]) -> Iterator[str]:
    """Yield the result of `check_sums` for people: a summary, and the failing layers, worst first."""
    failing = sorted((layer for layer in layers if not layer.exact), key=lambda layer: -layer.worst)
    if not layers:
        yield "no integer layers: a float model gives the same picture on every processor but for the last digits"
        return
    if not failing:
        yield f"exact on every processor: neighbors of {len(layers)} integer layers sum to {EXACT_PAIR_LIMIT} at most"
        return
    yield (
        f"not exact on every processor: {len(failing)} of {len(layers)} integer layers can pass 16 bits on x86 without VNNI. "
        "Export the model again, or convert it: dae-export FILE.onnx --calibration-data NOISY -o NEW.onnx"
    )
    for layer in failing:
        where = f"in {layer.channels} channels above {EXACT_PAIR_LIMIT}"
        yield f"  {layer.name} ({layer.kind}): neighbors sum to {layer.worst}, {where}"


def _adjacent(count: int) -> Pairs:
    """Return the pairs (0, 1), (2, 3), ... of `count` products; an odd last one has no pair."""
    return np.arange(count // 2 * 2).reshape(-1, 2)


def _is_transposed(node: onnx.NodeProto) -> bool:
    return bool(node.op_type in ("Gemm", "QGemm") and attributes(node).get("transB", 0))


def _is_unsigned(unpack: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> bool:
    zero = constants.get(unpack.input[2]) if len(unpack.input) > 2 else None
    return zero is not None and zero.data_type == onnx.TensorProto.UINT8


def load_model(model: onnx.ModelProto | bytes | str | os.PathLike[str]) -> onnx.ModelProto:
    """Return a model given as such, as content, or as path.

    Raises:
        ModelError: The file cannot be read.
    """
    if isinstance(model, onnx.ModelProto):
        return model
    try:
        content = model if isinstance(model, bytes) else read_regular(model, onnx.checker.MAXIMUM_PROTOBUF)
        return onnx.load_from_string(content)
    except Exception as error:  # protobuf exceptions share no public base class
        where = "the content" if isinstance(model, bytes) else os.fspath(model)
        raise ModelError(f"{where} cannot be read as ONNX ({reason_of(error)}). Give the path of an .onnx file.") from error
