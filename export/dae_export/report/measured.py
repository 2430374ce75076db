"""The report: what an export made, in figures and pictures.

report = measure_report(fp32, written, samples, fit, name="v2", precision="int8")
report.to_json()                  # the figures, for the contract
write_html("report.html", report) # one page that needs no other file
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx import TensorProto

from dae_runtime.system.atomic import write_atomic
from dae_runtime.system.processor import cpu_features, cpu_name

from ..graph.macs import count_macs, integer_nodes, share
from ..measure.parity import noisy_images
from ..measure.samples import Batches, Fit, Samples
from .comparison import compare
from .document import ExportReport, Gate, Layer, Work
from .latency import measure_latency

REPORT_SIDE_PX = 64
"""About the side of the image whose MACs are counted, and of those that are made up where there are no samples."""
MADE_UP_IMAGES = 16


def measure_report(
    fp32_model: onnx.ModelProto,
    written_model: onnx.ModelProto,
    samples: Samples | None,
    fit: Fit,
    *,
    name: str,
    precision: str,
    gates: Sequence[Gate] = (),
    seconds: float = 20.0,
) -> ExportReport:
    """Measure what a report says.

    Args:
        fp32_model: The float32 model that the file is compared with; `written_model` itself for a float32 file.
        written_model: The model that is written, of either kind of edge.
        samples: What the pictures and the quality come from; None for made-up pictures without clean references.
        fit: What the model takes.
        name: Of the model, for people.
        precision: Of the written model, as in the contract.
        gates: Limits that were kept.
        seconds: About how long the latencies may take.

    Raises:
        DaeError: A model cannot be run.
    """
    fp32, written = fp32_model.SerializeToString(), written_model.SerializeToString()
    same = fp32 == written
    # FP16 is meant for CUDA, so its times are taken there, if it is there.
    device = "auto" if precision == "fp16" else "cpu"
    kinds = [node.op_type for node in written_model.graph.node]
    return ExportReport(
        name=name,
        precision=precision,
        compares=not same,
        io_dtype="uint8" if written_model.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8 else "float32",
        size_bytes=len(written),
        fp32_size_bytes=len(fp32),
        node_counts={kind: kinds.count(kind) for kind in sorted(set(kinds), key=lambda kind: (-kinds.count(kind), kind))},
        fp32_nodes=len(fp32_model.graph.node),
        work=_work(fp32_model, written_model, fit, precision),
        machine=", ".join([cpu_name(), *cpu_features()]),
        timings=measure_latency(fp32, None if same else written, fit, device, seconds),
        comparison=compare(fp32, written, samples or _made_up(fit)),
        gates=tuple(gates),
    )


def write_html(path: str | os.PathLike[str], report: ExportReport) -> None:
    """Write the report as one HTML page that needs no other file and no network.

    Raises:
        OSError: The file cannot be written.
    """
    from .page import page

    write_atomic(Path(path), page(report).encode())


def _work(fp32: onnx.ModelProto, written: onnx.ModelProto, fit: Fit, precision: str) -> Work:
    side = max(REPORT_SIDE_PX // fit.alignment_px, 1) * fit.alignment_px
    height, width = fit.fixed_size or (side, side)
    before, after = (count_macs(model, height, width) for model in (fp32, written))
    integer = integer_nodes(written) if precision == "int8" else set()
    floats = [Layer(node, share(after, {node})) for node in after if node not in integer] if precision == "int8" else []
    return Work(
        fp32_macs_per_pixel=sum(before.values()) / (height * width),
        macs_per_pixel=sum(after.values()) / (height * width),
        integer_share=share(after, integer),
        float_layers=tuple(sorted(floats, key=lambda layer: -layer.share)),
    )


def _made_up(fit: Fit) -> Samples:
    side = max(REPORT_SIDE_PX // fit.alignment_px, 1) * fit.alignment_px
    noisy = noisy_images((MADE_UP_IMAGES, *(fit.fixed_size or (side, side)), fit.channels))
    batches = Batches(len(noisy), lambda: iter([noisy]))
    return Samples(batches, batches, None, "made-up pictures")
