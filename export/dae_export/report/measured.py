"""Measurement of a report.

report = measure_report(fp32, written, judgment, images, name="v2", precision="int8")
report.to_json()  # the figures, for the contract
html_page(report) # one HTML document that needs no other file
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import onnx
from onnx import TensorProto

from dae_runtime.contract import ImageSpec
from dae_runtime.system.processor import cpu_features, cpu_name

from ..graph.macs import count_macs, integer_nodes, share
from ..measure.gates import Gate
from ..measure.quality import Judgment
from .document import ExportReport, Layer, Work
from .latency import measure_latency

REPORT_SIDE_PX = 64
"""Approximate image side for counting MACs."""


def measure_report(
    fp32_model: onnx.ModelProto,
    written_model: onnx.ModelProto,
    judgment: Judgment,
    images: ImageSpec,
    *,
    name: str,
    precision: str,
    gates: Sequence[Gate] = (),
    seconds: float = 20.0,
) -> ExportReport:
    """Measure the figures of a report.

    Args:
        fp32_model: The float32 model for comparison; `written_model` itself for a float32 file.
        written_model: The written model, float32 or uint8.
        judgment: The written model against float32, with details.
        images: Images that the model accepts.
        name: Name of the model, for people.
        precision: Precision of the written model, as in the contract.
        gates: The gates that it passed.
        seconds: Approximate time limit of the latency measurement.

    Raises:
        DaeError: A model cannot be run.
    """
    fp32, written = fp32_model.SerializeToString(), written_model.SerializeToString()
    same = fp32 == written
    # FP16 is meant for CUDA and is timed there if available.
    device = "auto" if precision == "fp16" else "cpu"
    counts = Counter(node.op_type for node in written_model.graph.node)
    return ExportReport(
        name=name,
        precision=precision,
        compares=not same,
        io_dtype="uint8" if written_model.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8 else "float32",
        size_bytes=len(written),
        fp32_size_bytes=len(fp32),
        node_counts=dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))),
        fp32_nodes=len(fp32_model.graph.node),
        work=_work(fp32_model, written_model, images, precision),
        machine=", ".join([cpu_name(), *cpu_features()]),
        timings=measure_latency(fp32, None if same else written, images, device, seconds),
        judgment=judgment,
        gates=tuple(gates),
    )


def _work(fp32: onnx.ModelProto, written: onnx.ModelProto, images: ImageSpec, precision: str) -> Work:
    height, width = images.size_near(REPORT_SIDE_PX)
    before, after = (count_macs(model, height, width) for model in (fp32, written))
    integer = integer_nodes(written) if precision == "int8" else set()
    floats = [Layer(node, share(after, {node})) for node in after if node not in integer] if precision == "int8" else []
    return Work(
        fp32_macs_per_pixel=sum(before.values()) / (height * width),
        macs_per_pixel=sum(after.values()) / (height * width),
        integer_share=share(after, integer),
        float_layers=tuple(sorted(floats, key=lambda layer: -layer.share)),
    )
