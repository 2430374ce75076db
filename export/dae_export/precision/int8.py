"""Static INT8 quantization; the only module that imports `onnxruntime.quantization`.

Activations are unsigned 8-bit with a zero point, weights signed 8-bit with one scale per output channel, written as pairs of
QuantizeLinear and DequantizeLinear (QDQ). Activation ranges come from running the float32 model on samples.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from dae_runtime.contract import INPUT_NAME, OUTPUT_NAME
from dae_runtime.pixels.arrays import FloatArray

from ..errors import CalibrationError
from ..graph.macs import INTEGER
from ..graph.model import Array, Graph, attributes, set_attributes
from ..graph.residual import float_nodes, give_exact_image, residual_sum
from ..measure.batches import Batch, feeds
from .exactness import require_exact
from .first_layer import first_layer, make_exact
from .float_parts import float_parts
from .float_sums import keep_sums
from .integer_weights import IntegerWeights, round_weights
from .scales import round_sums_alike, tied_tensors

QUANTIZED_KINDS = (
    *("Conv", "ConvTranspose", "Gemm", "LeakyRelu", "Relu", "Clip", "Sigmoid", "Add", "Mul", "Concat"),
    *("Transpose", "Reshape", "Slice", "DepthToSpace", "SpaceToDepth", "Resize"),
    *("MaxPool", "AveragePool", "GlobalAveragePool"),
)
"""Node kinds with integer inputs and outputs; others stay in float."""
_OPTIONS: dict[str, dict[str, Any]] = {
    "minmax": {},
    "entropy": {"num_bins": 1024},  # with the default of 128 the whole range is the only candidate
    "percentile": {"symmetric": False, "percentile": 99.99},
    "percentile-99.9": {"symmetric": False, "percentile": 99.9},
}


LARGEST_BIAS = 2**30
"""In quantization steps: half of the 32-bit range."""


@dataclass(frozen=True)
class Ranges:
    """The range of every activation of a model."""

    values: Any
    """`TensorsData` of onnxruntime."""
    method: str


def calibrate(model: onnx.ModelProto, batches: Iterable[Batch], method: str = "minmax") -> Ranges:
    """Determine the activation ranges of a model.

    Memory holds the activations of one batch only.

    Args:
        model: The float32 model.
        batches: Noisy images (N, H, W, C), float32, of a size that the model accepts, with the levels that it takes.
        method: One of `dae_runtime.contract.CALIBRATION_METHODS`.

    Raises:
        CalibrationError: `batches` is empty.
    """
    from onnxruntime.quantization import CalibrationMethod, create_calibrator

    kind = {
        "minmax": CalibrationMethod.MinMax,
        "entropy": CalibrationMethod.Entropy,
        "percentile": CalibrationMethod.Percentile,
        "percentile-99.9": CalibrationMethod.Percentile,
    }[method]
    # The calibrator leaves files beside the model and prints its progress.
    with tempfile.TemporaryDirectory(prefix="dae-export-") as folder, contextlib.redirect_stdout(io.StringIO()):
        path = Path(folder) / "model.onnx"
        onnx.save(Graph(model).to_model(), path)  # tensors without a shape are not observed
        augmented = str(Path(folder) / "augmented.onnx")
        calibrator = create_calibrator(path, QUANTIZED_KINDS, augmented, kind, extra_options=_OPTIONS[method])
        empty = True
        for batch in batches:
            calibrator.collect_data(_reader(batch))
            empty = False
        if empty:
            raise CalibrationError("there are no samples to calibrate with. Give noisy images with --calibration-data.")
        values = calibrator.compute_data()
    _share_ranges(model, values)
    return Ranges(values, method)


def quantize(
    model: onnx.ModelProto,
    ranges: Ranges,
    keep_float: Collection[str] = (),
    weights: Mapping[str, IntegerWeights] | None = None,
) -> onnx.ModelProto:
    """Return an INT8 version of a model that gives the same integers on every processor; `model` is not changed.

    Args:
        model: The float32 model.
        ranges: From `calibrate` with the same model.
        keep_float: Names of nodes that stay in float.
        weights: From `round_weights` with the same model; None for plain rounding, which costs some PSNR.

    Raises:
        GateError: The sums of an integer layer may depend on the processor.
    """
    from onnxruntime.quantization import QDQQuantizer, QuantType

    plain = Graph(model)
    source = plain.to_model()  # the quantizer needs all shapes
    source.metadata_props.add(key="onnx.infer", value="onnxruntime.quant")  # marks the shapes as inferred
    # Without this option the Transpose at the input moves floats.
    options = {"ForceQuantizeNoInputCheck": True}
    quantizer = QDQQuantizer(
        source,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=ranges.values,
        nodes_to_quantize=[],
        nodes_to_exclude=[*keep_float, *first_layer(plain), *float_nodes(plain), *float_parts(plain, QUANTIZED_KINDS)],
        op_types_to_quantize=QUANTIZED_KINDS,
        extra_options=options,
    )
    quantizer.quantize_model()
    graph = Graph(quantizer.model.model)  # drops unused additions of the quantizer
    graph.name = model.graph.name
    keep_sums(graph)
    round_sums_alike(graph)
    put_weights(graph, round_weights(model) if weights is None else weights, plain.constants)
    if residual_sum(plain):
        give_exact_image(graph)
    make_exact(graph)
    exact = graph.to_model()
    require_exact(exact)
    return exact


def put_weights(graph: Graph, weights: Mapping[str, IntegerWeights], biases: Mapping[str, Array]) -> None:
    """Replace weights and biases of the integer layers of a QDQ graph.

    Args:
        graph: Changed in place.
        weights: By the name of the dequantized or of the float weights.
        biases: In float, by name. Others keep their dequantized value, already rounded by the quantizer (to whole steps of the
            data beside weights of zero).
    """
    for node in graph.nodes:
        unpack = graph.producer(node.input[1]) if node.op_type in INTEGER else None
        if unpack is None or unpack.op_type != "DequantizeLinear":
            continue
        names = (node.input[1], node.input[1].removesuffix("_DequantizeLinear_Output"))
        rounded = next((weights[name] for name in names if name in weights), None)
        if rounded is None:
            continue  # a product of two activations
        values, scales = rounded.values, rounded.scales
        axis = _channel_axis(node, values.ndim)
        offset = graph.producer(node.input[2]) if len(node.input) > 2 else None
        data = graph.producer(node.input[0])
        if offset is not None and offset.op_type == "DequantizeLinear" and data is not None:
            unit = graph.constants[data.input[1]].astype(np.float64)
            bias = biases.get(node.input[2], graph.constants[offset.input[0]] * graph.constants[offset.input[1]])
            bias = bias.astype(np.float64)
            values, scales = _with_room(values, scales, axis, np.abs(bias) / unit)
            step = (unit * scales).astype(np.float32)
            _fill(graph, offset, np.rint(bias / step).astype(np.int32), step, 0)
        _fill(graph, unpack, values, scales, axis)


def _with_room(values: Array, scales: Array, axis: int, bias: Array) -> tuple[Array, Array]:
    """Increase the scale of channels whose bias, in units of the data scale, would not fit into 32 bits.

    That happens with zero weights and a bias, which a rewrite may create, and with tiny weights.
    """
    least = np.where(bias > 0, bias / LARGEST_BIAS, 1.0)
    tight = (scales < least) & ((bias > 0) | (scales < np.finfo(np.float32).eps))
    wanted = np.where(tight, least, scales).astype(np.float32)
    shape = [-1 if index == axis else 1 for index in range(values.ndim)]
    shrunk = np.rint(values * (scales / wanted).reshape(shape)).astype(values.dtype)
    return shrunk, wanted


def _fill(graph: Graph, unpack: onnx.NodeProto, values: Array, scales: Array, axis: int) -> None:
    """Replace the constants of a DequantizeLinear, with a scale for each index along an axis."""
    scales = np.ascontiguousarray(scales.reshape(-1))
    for name, value in zip(unpack.input, (values, scales, np.zeros(scales.shape, values.dtype)), strict=False):
        graph.constants[name] = value
    set_attributes(unpack, {"axis": axis})


def _channel_axis(node: onnx.NodeProto, dimensions: int) -> int:
    """Return the output channel axis of the weights."""
    if node.op_type == "Conv" or attributes(node).get("transB", 0):
        return 0
    return dimensions - 1


def _reader(batch: Batch) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class OneBatch(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches = iter([feeds(batch)])

        def get_next(self) -> dict[str, FloatArray] | None:
            return next(self.batches, None)

    return OneBatch()


def _share_ranges(model: onnx.ModelProto, values: Any) -> None:
    """Set the union of ranges for tensors that must share a scale, and [0, 1] for images at input and output.

    A scale of 1/255 is exact for 8-bit pixels. Only a residual network trained on noise beyond [0, 1] keeps the range of its
    input: it does not round the image, see `residual`.
    """
    from onnxruntime.quantization import TensorData

    edges = {INPUT_NAME, OUTPUT_NAME}
    beyond = residual_sum(Graph(model)) is not None and _exceeds_unit(values[INPUT_NAME].range_value)
    for group in [*tied_tensors(model), edges]:
        ranges = [values[name].range_value for name in group if name in values]
        if group & edges and not beyond:
            low, high = np.float32(0), np.float32(1)
        else:
            low = np.float32(min((np.min(r[0]) for r in ranges), default=0))
            high = np.float32(max((np.max(r[1]) for r in ranges), default=0))
        for name in group:
            if name in values:
                values[name] = TensorData(lowest=np.array(low), highest=np.array(high))


def _exceeds_unit(ends: Any) -> bool:
    return bool(np.min(ends[0]) < 0 or np.max(ends[1]) > 1)
