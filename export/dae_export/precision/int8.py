"""Static INT8 quantization: the only module that imports `onnxruntime.quantization`.

Activations are unsigned 8-bit with a zero point, weights signed 8-bit with one scale per output channel, written as pairs of
QuantizeLinear and DequantizeLinear (QDQ). The ranges of the activations come from running the float32 model on samples.
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
from .integer_weights import IntegerWeights, round_weights
from .scales import round_sums_alike, tied_tensors

QUANTIZED_KINDS = (
    *("Conv", "ConvTranspose", "Gemm", "LeakyRelu", "Relu", "Clip", "Sigmoid", "Add", "Mul", "Concat"),
    *("Transpose", "Reshape", "Slice", "DepthToSpace", "SpaceToDepth", "Resize"),
    *("MaxPool", "AveragePool", "GlobalAveragePool"),
)
"""Node kinds that get integer inputs and outputs; the others stay in float."""
_OPTIONS: dict[str, dict[str, Any]] = {
    "minmax": {},
    "entropy": {"num_bins": 1024},  # with onnxruntime's default of 128 the whole range is the only candidate
    "percentile": {"symmetric": False, "percentile": 99.99},
}


LARGEST_BIAS = 2**30
"""In steps of its scale: half of what 32 bits hold."""


@dataclass(frozen=True)
class Ranges:
    """The range of every activation of one model."""

    values: Any
    """onnxruntime's TensorsData."""
    method: str


def calibrate(model: onnx.ModelProto, batches: Iterable[Batch], method: str = "minmax") -> Ranges:
    """Find the ranges of a model's activations.

    The memory needed is that of the activations of one batch, however many batches there are.

    Args:
        model: The float32 model.
        batches: Noisy images (N, H, W, C), float32, with the levels that the model takes.
        method: One of `dae_runtime.contract.CALIBRATION_METHODS`.

    Raises:
        CalibrationError: There is no batch.
    """
    from onnxruntime.quantization import CalibrationMethod, create_calibrator

    kind = {
        "minmax": CalibrationMethod.MinMax,
        "entropy": CalibrationMethod.Entropy,
        "percentile": CalibrationMethod.Percentile,
    }[method]
    # The calibrator leaves files beside the model and prints its progress: give it a folder of its own, and no terminal.
    with tempfile.TemporaryDirectory(prefix="dae-export-") as folder, contextlib.redirect_stdout(io.StringIO()):
        path = Path(folder) / "model.onnx"
        onnx.save(Graph(model).to_model(), path)  # a tensor without a shape would not be observed
        augmented = str(Path(folder) / "augmented.onnx")
        calibrator = create_calibrator(path, QUANTIZED_KINDS, augmented, kind, extra_options=_OPTIONS[method])
        empty = True
        for batch in batches:
            calibrator.collect_data(_reader(batch))
            empty = False
        if empty:
            raise CalibrationError("there are no samples to calibrate with. Give noisy images with --calibration-data.")
        values = calibrator.compute_data()
    _tie(model, values)
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
        weights: From `round_weights` with the same model; None to round them by themselves alone, which costs some PSNR.

    Raises:
        GateError: The sums of an integer layer could depend on the processor.
    """
    from onnxruntime.quantization import QDQQuantizer, QuantType

    plain = Graph(model)
    source = plain.to_model()  # a tensor without a shape would stop the quantizer
    source.metadata_props.add(key="onnx.infer", value="onnxruntime.quant")  # says that the shapes are inferred already
    # Without this option the Transpose at the input would move floats.
    options = {"ForceQuantizeNoInputCheck": True}
    quantizer = QDQQuantizer(
        source,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=ranges.values,
        nodes_to_quantize=[],
        nodes_to_exclude=[*keep_float, *float_nodes(plain)],
        op_types_to_quantize=QUANTIZED_KINDS,
        extra_options=options,
    )
    quantizer.quantize_model()
    graph = Graph(quantizer.model.model)  # drops what the quantizer adds to the file and nothing needs
    graph.name = model.graph.name
    round_sums_alike(graph)
    put_weights(graph, round_weights(model) if weights is None else weights, plain.constants)
    if residual_sum(plain):
        give_exact_image(graph)
    exact = graph.to_model()
    require_exact(exact)
    return exact


def put_weights(graph: Graph, weights: Mapping[str, IntegerWeights], biases: Mapping[str, Array]) -> None:
    """Give the integer layers of a QDQ graph other weights, and biases on the scale that goes with them.

    Args:
        graph: Changed in place.
        weights: By the name that the weights have behind DequantizeLinear, or had in float.
        biases: In float, by name. A layer whose bias is not there keeps what its integers stand for, which the quantizer has
            rounded already: to whole steps of the data beside weights of zero.
    """
    for node in graph.nodes:
        unpack = graph.producer(node.input[1]) if node.op_type in INTEGER else None
        if unpack is None or unpack.op_type != "DequantizeLinear":
            continue
        names = (node.input[1], node.input[1].removesuffix("_DequantizeLinear_Output"))
        rounded = weights[next(name for name in names if name in weights)]
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
    """Let the scale of a channel grow where its bias, in units of the data's scale, would not fit into 32 bits with it.

    That is so of a channel of zeros that has a bias, which a rewrite may make, and of one with hardly any weights.
    """
    least = np.where(bias > 0, bias / LARGEST_BIAS, 1.0)
    tight = (scales < least) & ((bias > 0) | (scales < np.finfo(np.float32).eps))
    wanted = np.where(tight, least, scales).astype(np.float32)
    shape = [-1 if index == axis else 1 for index in range(values.ndim)]
    shrunk = np.rint(values * (scales / wanted).reshape(shape)).astype(values.dtype)
    return shrunk, wanted


def _fill(graph: Graph, unpack: onnx.NodeProto, values: Array, scales: Array, axis: int) -> None:
    """Let a DequantizeLinear unpack other constants, with a scale for each index along an axis."""
    scales = np.ascontiguousarray(scales.reshape(-1))
    for name, value in zip(unpack.input, (values, scales, np.zeros(scales.shape, values.dtype)), strict=False):
        graph.constants[name] = value
    set_attributes(unpack, {"axis": axis})


def _channel_axis(node: onnx.NodeProto, dimensions: int) -> int:
    """Return the axis of the weights that tells output channels apart."""
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


def _tie(model: onnx.ModelProto, values: Any) -> None:
    """Give tensors that must share their parameters the union of their ranges, and the images at both edges [0, 1].

    At a scale of 1/255 8-bit pixels are exact, and nothing is clipped. Only a residual network that was trained on noise
    beyond [0, 1] gets its input's own range: it does not round the image, see `residual`.
    """
    from onnxruntime.quantization import TensorData

    edges = {INPUT_NAME, OUTPUT_NAME}
    beyond = residual_sum(Graph(model)) is not None and _leaves_unit(values[INPUT_NAME].range_value)
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


def _leaves_unit(ends: Any) -> bool:
    return bool(np.min(ends[0]) < 0 or np.max(ends[1]) > 1)
