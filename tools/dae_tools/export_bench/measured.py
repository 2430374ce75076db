"""What the benchmark measured."""

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
    """What was measured."""

    network: str
    """What ran, in words."""
    threads: int
    forms: dict[str, str]
    """Which form was the fastest, by contender."""
    times: dict[Shape, dict[str, Latency]]
    """By input (N, H, W, C) and contender, in milliseconds for the whole input."""
    profiles: dict[str, list[NodeTime]]
    """By contender."""
    macs: dict[str, int]
    """Multiplications with their additions on the profiled input, by contender."""
    profiled: Shape
    """The input (N, H, W, C) of the profiles."""
    comparison: Comparison | None = None
    """The residual networks beside other denoisers; None if they were not asked for."""
