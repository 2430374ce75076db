"""The choice among graphs that compute the same: whichever takes the least time here."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import onnx

from dae_runtime.contract import ImageSpec, Shape
from dae_runtime.engine.session import open_session, run_session
from dae_runtime.errors import DaeError

from .batches import random_batch
from .latency import Latency, measure

TUNING_SIDE_PX = 512
TUNING_BATCH = 16
"""Images at once for models of fixed size."""
TUNING_S = 4.0
"""About how long the timing may take."""
WORTHWHILE = 0.97
"""A rewritten graph must need at most this share of the canonical one's time."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """The fastest of several graphs."""

    name: str
    times: Mapping[str, Latency]
    """Of everything that was timed, in milliseconds for one run on `shape`."""
    shape: Shape
    """The (N, H, W, C) that was timed."""


def tuning_shape(images: ImageSpec) -> Shape:
    """Return the (N, H, W, C) that candidates are timed on."""
    return (TUNING_BATCH if images.fixed_size else 1, *images.size_near(TUNING_SIDE_PX), images.channels)


def fastest(
    candidates: Mapping[str, onnx.ModelProto],
    shape: Shape,
    beside: Mapping[str, onnx.ModelProto] | None = None,
) -> Choice:
    """Time models in alternation on the CPU, on all its threads, and choose the fastest.

    The fastest run of each decides: what disturbs a machine only ever adds.

    Args:
        candidates: Models by name; the first is the one to keep unless another is clearly faster. Others that cannot run are
            left out with a warning.
        shape: The (N, H, W, C) to time.
        beside: Further models by name that are timed, for comparison, and never chosen.
    """
    first, *others = candidates
    sessions = {first: open_session(candidates[first].SerializeToString(), "cpu")}
    sessions |= {name: session for name in others if (session := _opened(name, candidates[name], shape)) is not None}
    others = [name for name in others if name in sessions]
    sessions |= {name: open_session(model.SerializeToString(), "cpu") for name, model in (beside or {}).items()}
    times = _measure(sessions, shape)
    best = min(others, key=lambda name: times[name].fastest_ms, default=first)
    chosen = best if times[best].fastest_ms <= WORTHWHILE * times[first].fastest_ms else first
    return Choice(chosen, times, shape)


def speedup(slow: onnx.ModelProto, fast: onnx.ModelProto, shape: Shape) -> float:
    """Return how many times as fast one model is as another: medians of both, timed in alternation as in `fastest`."""
    sessions = {name: open_session(m.SerializeToString(), "cpu") for name, m in (("slow", slow), ("fast", fast))}
    times = _measure(sessions, shape)
    return times["slow"].median_ms / times["fast"].median_ms


def _opened(name: str, model: onnx.ModelProto, shape: Shape) -> Any | None:
    try:
        session = open_session(model.SerializeToString(), "cpu")
        run_session(session, *random_batch(session, shape))
    except DaeError as error:
        logger.warning("rewrite %s left out: it cannot run: %s", name, error)
        return None
    return session


def _measure(sessions: Mapping[str, Any], shape: Shape) -> dict[str, Latency]:
    runs = {name: partial(run_session, session, *random_batch(session, shape)) for name, session in sessions.items()}
    return measure(runs, seconds=TUNING_S)
