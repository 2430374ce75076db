"""The choice among graphs that compute the same: whichever takes the least time here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import onnx

from dae_runtime.engine import open_session, run_session

from .latency import Latency, measure

TUNING_SIDE_PX = 256
TUNING_BATCH = 16
"""Images at once for models of fixed size."""
WORTHWHILE = 0.97
"""A rewritten graph must need at most this share of the canonical one's time."""


@dataclass(frozen=True)
class Choice:
    """The fastest of several graphs."""

    name: str
    model: onnx.ModelProto
    times: Mapping[str, Latency]
    """Of every candidate, in milliseconds for one run on `shape`."""
    shape: tuple[int, int, int, int]
    """The (N, H, W, C) that was timed."""


def tuning_shape(channels: int, alignment_px: int, fixed_size: tuple[int, int] | None) -> tuple[int, int, int, int]:
    """Return the (N, H, W, C) that candidates are timed on."""
    if fixed_size is not None:
        return (TUNING_BATCH, *fixed_size, channels)
    side = max(1, TUNING_SIDE_PX // alignment_px) * alignment_px
    return (1, side, side, channels)


def fastest(candidates: Mapping[str, onnx.ModelProto], shape: tuple[int, int, int, int], rounds: int = 5) -> Choice:
    """Time models in alternation on the CPU, on all its threads, and return the fastest.

    Args:
        candidates: Models by name; the first is the one to keep unless another is clearly faster.
        shape: The (N, H, W, C) to time.
        rounds: Turns of each candidate.
    """
    image = np.random.default_rng(0).random(shape, np.float32)
    sessions = {name: open_session(model.SerializeToString(), "cpu") for name, model in candidates.items()}
    times = measure({name: partial(run_session, session, image) for name, session in sessions.items()}, rounds)
    first, *others = candidates
    best = min(others, key=lambda name: times[name].median_ms, default=first)
    chosen = best if times[best].median_ms <= WORTHWHILE * times[first].median_ms else first
    return Choice(chosen, candidates[chosen], times, shape)
