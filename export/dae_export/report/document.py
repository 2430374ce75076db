"""What a report says: the figures of an export, and their JSON for the contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .comparison import Comparison
from .latency import Timings


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
