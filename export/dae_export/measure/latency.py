"""Latency of model runs, comparable between models.

Clock rates drift and other processes interfere, so models are timed in alternation and compared by the ratio of medians.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

SETTLE_S = 0.03
"""Pause before each turn: threads of the previous model still spin and would occupy the processor."""
FREE_SHAPES = ((256, 28, 28), (1, 512, 512), (1, 1080, 1920))
"""Batch, height and width on which models of free size are timed."""
FIXED_BATCHES = (1, 256)
"""Batch sizes for models of fixed size."""
ROUNDS = 5
RUNS_PER_TURN = 4


@dataclass(frozen=True)
class Latency:
    """Times of one model in milliseconds per run."""

    median_ms: float
    fastest_ms: float


def time_alternately(
    functions: Mapping[str, Callable[[], object]],
    rounds: int = ROUNDS,
    *,
    runs_per_turn: int = RUNS_PER_TURN,
    seconds: float = math.inf,
    fewest_rounds: int = 1,
) -> dict[str, Latency]:
    """Time functions in alternation.

    Args:
        functions: Functions by name. Each is called once before timing.
        rounds: Most turns of each.
        runs_per_turn: Runs of a turn. The first of several is a warmup and not counted.
        seconds: No round starts later than this.
        fewest_rounds: Least number of turns, regardless of `seconds`.

    Returns:
        The times by name, in the same order.
    """
    for run in functions.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in functions}
    end = time.perf_counter() + seconds
    for number in range(rounds):
        if number >= fewest_rounds and time.perf_counter() > end:
            break
        for name, run in functions.items():
            time.sleep(SETTLE_S)
            turn = [_milliseconds(run) for _ in range(runs_per_turn)]
            times[name] += turn[1:] or turn
    return {name: Latency(float(np.median(values)), min(values)) for name, values in times.items()}


def _milliseconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e3
