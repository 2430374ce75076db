"""The figures of a report, and their JSON for the contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..measure.gates import Gate
from ..measure.quality import Judgment
from .latency import Timings

GATE_FIGURES = ("name", "measured", "limit", "at_least")
PIXEL_FIGURES = ("image", "row", "column", "difference", "values")


@dataclass(frozen=True)
class Layer:
    """One layer with weights."""

    name: str
    share: float
    """Share of all MACs of the file, 0 to 1."""


@dataclass(frozen=True)
class Work:
    """Multiply-accumulate operations (MACs) per pixel of the image."""

    fp32_macs_per_pixel: float
    """MACs of the float32 model."""
    macs_per_pixel: float
    """MACs of this file; rewrites may compute more in less time."""
    integer_share: float
    """Share of the MACs of this file in integers, 0 to 1."""
    float_layers: tuple[Layer, ...]
    """Layers of an INT8 file that stay in float, largest first."""


@dataclass(frozen=True)
class ExportReport:
    """Figures of an export, measured on this machine."""

    name: str
    precision: str
    """`fp32`, `fp16` or `int8`."""
    compares: bool
    """Whether the file differs from the float32 model."""
    io_dtype: str
    """`float32` or `uint8`."""
    size_bytes: int
    """Size of this file; without its contract until replaced."""
    fp32_size_bytes: int
    """Size of the float32 model without a contract."""
    node_counts: Mapping[str, int]
    """Nodes of this file by kind."""
    fp32_nodes: int
    """Nodes of the float32 graph."""
    work: Work
    machine: str
    """Processor and relevant instruction sets."""
    timings: Timings
    judgment: Judgment
    """This file against float32, with details."""
    gates: tuple[Gate, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the figures for JSON (no NaN, no infinity), without pictures."""
        document: dict[str, Any] = _rounded(
            {
                "file": {"size_bytes": self.size_bytes, "fp32_size_bytes": self.fp32_size_bytes, "nodes": self.node_counts},
                "work": asdict(self.work),
                "latency": {
                    "machine": self.machine,
                    "device": self.timings.device,
                    "rows": [asdict(row) | {"ratio": row.ratio} for row in self.timings.rows],
                },
                "comparison": self._comparison(),
                "gates": [{name: getattr(gate, name) for name in GATE_FIGURES} for gate in self.gates],
            }
        )
        return document

    def _comparison(self) -> dict[str, Any]:
        """Return the figures without pictures, which would bloat the contract."""
        judgment, details = self.judgment, self.judgment.details
        return {
            "samples": judgment.samples,
            "source": details.source,
            "psnr_db": judgment.psnr_db,
            "ssim": details.ssim,
            "ssim_samples": details.ssim_samples,
            "agreement_db": judgment.agreement_db,
            "color_shift": judgment.color_shift,
            "worst": [{name: getattr(pixel, name) for name in PIXEL_FIGURES} for pixel in details.worst],
        }


def _rounded(value: Any) -> Any:
    """Round every float to 5 significant digits, beyond the precision of the measurements."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value
