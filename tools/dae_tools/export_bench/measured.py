"""The results of the benchmark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dae_runtime.contract import Shape

if TYPE_CHECKING:
    from dae_export.measure.latency import Latency

    from .comparison import Comparison
    from .profile import NodeTime


@dataclass(frozen=True)
class Bench:
    """The results of the benchmark."""

    network: str
    """Description of the network."""
    threads: int
    forms: dict[str, str]
    """Fastest form, by contender."""
    times: dict[Shape, dict[str, Latency]]
    """By input (N, H, W, C) and contender, in milliseconds for the whole input."""
    profiles: dict[str, list[NodeTime]]
    """By contender."""
    macs: dict[str, int]
    """Multiply-accumulate operations on the profiled input, by contender."""
    profiled: Shape
    """The input (N, H, W, C) of the profiles."""
    comparison: Comparison | None = None
    """The comparison with other denoisers; None if not requested."""
