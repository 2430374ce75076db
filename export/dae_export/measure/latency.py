"""Milliseconds of whole model runs, measured so that two models can be compared.

Clock rates drift and neighbors disturb, so contenders take turns, and what counts is the median of each and the ratio of two.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

SETTLE_S = 0.03
"""Pause before each turn: the threads of the contender before spin for a while, and would steal the processor."""
FREE_SHAPES = ((256, 28, 28), (1, 512, 512), (1, 1080, 1920))
"""What models of free size are timed on: images at once, height, width."""
FIXED_BATCHES = (1, 256)
"""Images at once for models of fixed size."""
ROUNDS = 5
RUNS_PER_TURN = 4


@dataclass(frozen=True)
class Latency:
    """Times of one contender in milliseconds per run."""

    median_ms: float
    fastest_ms: float


def measure(
    contenders: Mapping[str, Callable[[], object]],
    rounds: int = ROUNDS,
    *,
    runs_per_turn: int = RUNS_PER_TURN,
    seconds: float = math.inf,
    fewest_rounds: int = 1,
) -> dict[str, Latency]:
    """Time functions in alternation.

    Args:
        contenders: What to call, by name. Each is called once before the clock starts.
        rounds: Turns of each at most.
        runs_per_turn: Runs of a turn. The first of several warms the caches and does not count.
        seconds: No round begins after so long.
        fewest_rounds: Turns that each takes whatever the time.

    Returns:
        The times by name, in the order given.
    """
    for run in contenders.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in contenders}
    end = time.perf_counter() + seconds
    for number in range(rounds):
        if number >= fewest_rounds and time.perf_counter() > end:
            break
        for name, run in contenders.items():
            time.sleep(SETTLE_S)
            turn = [_milliseconds(run) for _ in range(runs_per_turn)]
            times[name] += turn[1:] or turn
    return {name: Latency(float(np.median(values)), min(values)) for name, values in times.items()}


def _milliseconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e3
