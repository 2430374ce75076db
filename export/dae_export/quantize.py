"""Static INT8 quantization: the only module that imports `onnxruntime.quantization`.

Activations are unsigned 8-bit with a zero point, weights signed 8-bit with one scale per output channel, written as pairs of
QuantizeLinear and DequantizeLinear (QDQ). The ranges of the activations come from running the float32 model on samples.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from dae_runtime.contract import INPUT_NAME, OUTPUT_NAME

from .errors import CalibrationError
from .graph import Graph

FloatArray = npt.NDArray[np.float32]

QUANTIZED_KINDS = (
    *("Conv", "ConvTranspose", "Gemm", "LeakyRelu", "Relu", "Clip", "Sigmoid", "Add", "Mul", "Concat"),
    *("Transpose", "Reshape", "Resize", "MaxPool", "AveragePool", "GlobalAveragePool", "DepthToSpace", "SpaceToDepth"),
)
"""Node kinds that get integer inputs and outputs; the others stay in float."""
_OPTIONS: dict[str, dict[str, Any]] = {
    "minmax": {},
    "entropy": {"num_bins": 1024},  # with onnxruntime's default of 128 the whole range is the only candidate
    "percentile": {"symmetric": False, "percentile": 99.99},
}


@dataclass(frozen=True)
class Ranges:
    """The range of every activation of one model."""

    values: Any
    """onnxruntime's TensorsData."""
    method: str


def calibrate(model: onnx.ModelProto, batches: Iterable[FloatArray], method: str = "minmax") -> Ranges:
    """Find the ranges of a model's activations.

    The memory needed is that of the activations of one batch, however many batches there are.

    Args:
        model: The float32 model, with the shape of every tensor.
        batches: Noisy images (N, H, W, C), float32, as the model takes them.
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
        onnx.save(model, path)
        augmented = str(Path(folder) / "augmented.onnx")
        calibrator = create_calibrator(path, QUANTIZED_KINDS, augmented, kind, extra_options=_OPTIONS[method])
        empty = True
        for batch in batches:
            calibrator.collect_data(_reader(batch))
            empty = False
        if empty:
            raise CalibrationError("there are no samples to calibrate with. Give noisy images with --calibration-data.")
        values = calibrator.compute_data()
    _set_edges(model, values)
    return Ranges(values, method)


def quantize(model: onnx.ModelProto, ranges: Ranges, keep_float: Collection[str] = ()) -> onnx.ModelProto:
    """Return an INT8 version of a model; `model` is not changed.

    Args:
        model: The float32 model.
        ranges: From `calibrate` with the same model.
        keep_float: Names of nodes that stay in float.
    """
    from onnxruntime.quantization import QDQQuantizer, QuantType

    source = onnx.ModelProto()
    source.CopyFrom(model)
    source.metadata_props.add(key="onnx.infer", value="onnxruntime.quant")  # says that the shapes are inferred already
    # Without this option the Transpose at the input would move floats.
    options = {"ForceQuantizeNoInputCheck": True}
    quantizer = QDQQuantizer(
        source, True, False, QuantType.QInt8, QuantType.QUInt8, ranges.values, [], list(keep_float), QUANTIZED_KINDS, options
    )
    quantizer.quantize_model()
    graph = Graph(quantizer.model.model)  # drops what the quantizer adds to the file and nothing needs
    graph.name = model.graph.name
    return graph.to_model()


def weighted_nodes(model: onnx.ModelProto) -> list[str]:
    """Return the names of the nodes with weights, first to last."""
    return [node.name for node in model.graph.node if node.op_type in ("Conv", "ConvTranspose", "Gemm")]


def _reader(batch: FloatArray) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class OneBatch(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches = iter([{INPUT_NAME: batch}])

        def get_next(self) -> dict[str, FloatArray] | None:
            return next(self.batches, None)

    return OneBatch()


def _set_edges(model: onnx.ModelProto, values: Any) -> None:
    """Give the images at both edges the range [0, 1]: at a scale of 1/255 8-bit pixels are exact, and nothing is clipped."""
    from onnxruntime.quantization import TensorData

    whole = TensorData(lowest=np.array(0, np.float32), highest=np.array(1, np.float32))
    graph = Graph(model)
    names = {INPUT_NAME, OUTPUT_NAME}
    for node in graph.nodes:
        if node.op_type == "Transpose" and (node.input[0] in names or node.output[0] in names):
            names |= {node.input[0], node.output[0]}
    for name in names:
        if name in values:
            values[name] = whole
