"""Latencies of a report: two models in alternation over image sizes and threads, in limited time."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from dae_runtime.contract import ImageSpec, Shape
from dae_runtime.engine.session import open_session, run_session, session_device
from dae_runtime.errors import DeviceError
from dae_runtime.system.processor import available_cpus

from ..measure.batches import random_batch
from ..measure.latency import FIXED_BATCHES, FREE_SHAPES, time_alternately

FEWEST_RUNS = 2
MOST_RUNS = 15


@dataclass(frozen=True)
class Timing:
    """Times of both models on one input."""

    images: int
    height_px: int
    width_px: int
    channels: int
    threads: int | None
    """CPU threads; None on CUDA."""
    fp32_ms: float
    """Median for the whole batch."""
    file_ms: float

    @property
    def ratio(self) -> float:
        """Time of this file over that of the float32 model."""
        return self.file_ms / self.fp32_ms

    @property
    def ms_per_value(self) -> float:
        """Sum of both times per value of the input."""
        return (self.fp32_ms + self.file_ms) / (self.images * self.height_px * self.width_px * self.channels)


@dataclass(frozen=True)
class Timings:
    """Times of both models on all inputs."""

    device: str
    """Device: `cpu` or `cuda:N`."""
    rows: tuple[Timing, ...]
    skipped: int
    """Number of cases skipped for lack of time or memory."""


def measure_latency(fp32: bytes, written: bytes | None, images: ImageSpec, device: str, seconds: float) -> Timings:
    """Time two models on every shape, with one thread and with all.

    Args:
        fp32: Content of the float32 file.
        written: Content of the file to compare; None for `fp32`.
        images: What the models take.
        device: As in `dae_runtime.engine.session.open_session`.
        seconds: Approximate time limit. Cases that would take too long, estimated from smaller shapes, are skipped.
    """
    used = session_device(open_session(fp32, device))
    shapes = images.shapes(FREE_SHAPES, FIXED_BATCHES)
    cases = [(shape, threads) for shape in shapes for threads in ([None] if used != "cpu" else _thread_counts())]
    rows: list[Timing] = []
    for shape, threads in cases:
        known = [row for row in rows if row.threads == threads]
        if known and known[-1].ms_per_value * math.prod(shape) * FEWEST_RUNS > 2e3 * seconds / len(cases):
            continue
        with contextlib.suppress(DeviceError):  # out of memory
            rows.append(_measure_case(fp32, written, shape, used, threads, seconds / len(cases)))
    return Timings(used, tuple(rows), len(cases) - len(rows))


def _measure_case(
    fp32: bytes, written: bytes | None, shape: Shape, device: str, threads: int | None, seconds: float
) -> Timing:
    contents = {"fp32": fp32} if written is None else {"fp32": fp32, "file": written}
    runs = {name: _runner(open_session(content, device, threads), shape) for name, content in contents.items()}
    times = time_alternately(runs, MOST_RUNS, runs_per_turn=1, seconds=seconds, fewest_rounds=FEWEST_RUNS)
    return Timing(*shape, threads, times["fp32"].median_ms, times["file" if written else "fp32"].median_ms)


def _thread_counts() -> Sequence[int | None]:
    return sorted({1, available_cpus()})


def _runner(session: Any, shape: Shape) -> Callable[[], object]:
    return partial(run_session, session, *random_batch(session, shape))
