"""Choice of the fastest of equivalent graphs on this machine."""

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
from .latency import Latency, time_alternately

TUNING_SIDE_PX = 512
TUNING_BATCH = 16
"""Batch size for models of fixed size."""
TUNING_S = 4.0
"""Approximate time limit."""
WORTHWHILE = 0.97
"""Largest time of a rewritten graph relative to the canonical one."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """The fastest of several graphs."""

    name: str
    times: Mapping[str, Latency]
    """Times of all models, in milliseconds for one run on `shape`."""
    shape: Shape
    """The timed (N, H, W, C)."""


def tuning_shape(images: ImageSpec) -> Shape:
    """Return the (N, H, W, C) on which candidates are timed."""
    return (TUNING_BATCH if images.fixed_size else 1, *images.size_near(TUNING_SIDE_PX), images.channels)


def fastest(
    candidates: Mapping[str, onnx.ModelProto],
    shape: Shape,
    beside: Mapping[str, onnx.ModelProto] | None = None,
) -> Choice:
    """Time models in alternation on the CPU with all threads, and choose the fastest.

    The fastest run of each counts: interference only adds time.

    Args:
        candidates: Models by name; the first is kept unless another is clearly faster. Others that cannot run are skipped
            with a warning.
        shape: The (N, H, W, C) to time.
        beside: Models by name that are timed for comparison only.
    """
    first, *others = candidates
    sessions = {first: open_session(candidates[first].SerializeToString(), "cpu")}
    sessions |= {name: session for name in others if (session := _opened(name, candidates[name], shape)) is not None}
    others = [name for name in others if name in sessions]
    sessions |= {name: open_session(model.SerializeToString(), "cpu") for name, model in (beside or {}).items()}
    times = _time(sessions, shape)
    best = min(others, key=lambda name: times[name].fastest_ms, default=first)
    chosen = best if times[best].fastest_ms <= WORTHWHILE * times[first].fastest_ms else first
    return Choice(chosen, times, shape)


def speedup(slow: onnx.ModelProto, fast: onnx.ModelProto, shape: Shape) -> float:
    """Return the ratio of median times of two models, timed in alternation as in `fastest`."""
    sessions = {name: open_session(m.SerializeToString(), "cpu") for name, m in (("slow", slow), ("fast", fast))}
    times = _time(sessions, shape)
    return times["slow"].median_ms / times["fast"].median_ms


def _opened(name: str, model: onnx.ModelProto, shape: Shape) -> Any | None:
    try:
        session = open_session(model.SerializeToString(), "cpu")
        run_session(session, *random_batch(session, shape))
    except DaeError as error:
        logger.warning("rewrite %s skipped: it cannot run: %s", name, error)
        return None
    return session


def _time(sessions: Mapping[str, Any], shape: Shape) -> dict[str, Latency]:
    runs = {name: partial(run_session, session, *random_batch(session, shape)) for name, session in sessions.items()}
    return time_alternately(runs, seconds=TUNING_S)
