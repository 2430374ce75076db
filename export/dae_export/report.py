"""The report: what an export made, in figures and pictures.

report = measure_report(fp32, written, samples, fit, name="v2", precision="int8")
report.to_json()                  # the figures, for the contract
write_html("report.html", report) # one page that needs no other file
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto

from dae_runtime.atomic import write_atomic
from dae_runtime.processor import cpu_features, cpu_name

from .macs import count_macs, integer_nodes, share
from .parity import noisy_images
from .report_comparison import Comparison, compare
from .report_latency import Timings, measure_latency
from .samples import Batches, Fit, Samples

REPORT_SIDE_PX = 64
"""About the side of the image whose MACs are counted, and of those that are made up where there are no samples."""
MADE_UP_IMAGES = 16


@dataclass(frozen=True)
class Layer:
    """One layer with weights."""

    name: str
    share: float
    """Of all MACs of the file, 0 to 1."""


@dataclass(frozen=True)
class Work:
    """Arithmetic per pixel of the image. One MAC is one multiplication with its addition."""

    fp32_macs_per_pixel: float
    """Of the float32 model."""
    macs_per_pixel: float
    """Of this file: rewrites may compute more where that takes less time."""
    integer_share: float
    """Share of this file's MACs that are done in integers, 0 to 1."""
    float_layers: tuple[Layer, ...]
    """Layers of an INT8 file that stayed in float, the largest first."""


@dataclass(frozen=True)
class Gate:
    """A limit that the file had to keep."""

    name: str
    """In words, with the unit."""
    measured: float
    limit: float
    at_least: bool = False
    """Whether the limit is the smallest that is allowed, not the largest."""

    @property
    def passed(self) -> bool:
        """Whether the limit is kept; never by NaN."""
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit


@dataclass(frozen=True)
class ExportReport:
    """What an export made; every figure was measured on the machine that made it."""

    name: str
    precision: str
    """`fp32`, `fp16` or `int8`."""
    compares: bool
    """Whether the file differs from the float32 model; false for that model itself."""
    io_dtype: str
    """`float32` or `uint8`."""
    size_bytes: int
    """Of this file without its contract, unless replaced by the whole."""
    fp32_size_bytes: int
    """Of the float32 model without a contract."""
    node_counts: Mapping[str, int]
    """Nodes of this file's graph, by kind."""
    fp32_nodes: int
    """Nodes of the float32 graph."""
    work: Work
    machine: str
    """The processor and those of its instructions that matter."""
    timings: Timings
    comparison: Comparison
    gates: tuple[Gate, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON takes them (no NaN, no infinity), without the pictures."""
        document: dict[str, Any] = _rounded(
            {
                "file": {"size_bytes": self.size_bytes, "fp32_size_bytes": self.fp32_size_bytes, "nodes": self.node_counts},
                "work": asdict(self.work),
                "latency": {
                    "machine": self.machine,
                    "device": self.timings.device,
                    "rows": [asdict(row) | {"ratio": row.ratio} for row in self.timings.rows],
                },
                "comparison": _without_pictures(asdict(self.comparison)),
                "gates": [asdict(gate) for gate in self.gates],
            }
        )
        return document


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
    from .report_page import page

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


def _without_pictures(value: Any) -> Any:
    """Drop what is drawn: the contract is text, and nobody wants pictures in each copy of the file."""
    if isinstance(value, Mapping):
        return {
            key: _without_pictures(item)
            for key, item in value.items()
            if key not in ("pictures", "crop", "crop_row", "crop_column")
        }
    return [_without_pictures(item) for item in value] if isinstance(value, list | tuple) else value


def _rounded(value: Any) -> Any:
    """Round every number to 5 significant digits, which is more than any of these measurements holds."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value
