"""Milliseconds of whole model runs, measured so that two models can be compared.

Clock rates drift and neighbors disturb, so contenders take turns, and what counts is the median of each and the ratio of two.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

SETTLE_S = 0.03
"""Pause before each turn: the threads of the contender before spin for a while, and would steal the processor."""
RUNS_PER_TURN = 3


@dataclass(frozen=True)
class Latency:
    """Times of one contender in milliseconds per run."""

    median_ms: float
    fastest_ms: float


def measure(contenders: Mapping[str, Callable[[], object]], rounds: int = 5) -> dict[str, Latency]:
    """Time functions in alternation.

    Args:
        contenders: What to call, by name. Each is called once before the clock starts.
        rounds: Turns of each; a turn is one run that warms the caches and `RUNS_PER_TURN` that count.

    Returns:
        The times by name, in the order given.
    """
    for run in contenders.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            time.sleep(SETTLE_S)
            run()
            for _ in range(RUNS_PER_TURN):
                start = time.perf_counter()
                run()
                times[name].append((time.perf_counter() - start) * 1e3)
    return {name: Latency(float(np.median(values)), min(values)) for name, values in times.items()}
