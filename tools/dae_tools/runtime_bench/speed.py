"""Benchmark of the Denoiser against a bare onnxruntime session on the same arrays."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from dae_export.measure.latency import time_alternately
from dae_runtime.contract import INPUT_NAME, OUTPUT_NAME, SIGMA_NAME
from dae_runtime.inference import Denoiser
from dae_runtime.pixels.arrays import Array, convert

BATCH = 256
SMALL_PX = 28
LARGE_PX = 512
_SMALL_BATCHES = 4
_SIGMA = 10 / 255


@dataclass(frozen=True)
class Figure:
    """One measured number with its target."""

    name: str
    value: float
    unit: str
    target: float | None = None
    at_least: bool = False
    """Whether the target is a lower bound."""
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.target is None:
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target

    def line(self) -> str:
        """Return the figure as a line of the table."""
        bound = "" if self.target is None else f"{'>=' if self.at_least else '<='} {self.target:g}"
        verdict = {None: "", True: "met", False: "MISSED"}[self.met]
        return f"{self.name:58} {self.value:9.3f} {self.unit:6} {bound:9} {verdict:7} {self.note}".rstrip()


def speed_figures(model: str, rounds: int, device: str) -> Iterator[Figure]:
    """Compare throughputs in alternating rounds by the fastest; disturbances only slow down."""
    with Denoiser(model, device) as denoiser:
        run = denoiser._first._session.run  # the same session: waiting threads of a second one would disturb it

        sigma = _SIGMA if denoiser.model.sigma is not None else None  # told to both: measuring it is no overhead

        def bare(batch: Array) -> object:
            told = {} if sigma is None else {SIGMA_NAME: np.full((len(batch), 1), sigma, np.float32)}
            return run([OUTPUT_NAME], {INPUT_NAME: batch} | told)

        large = _pixels((1, LARGE_PX, LARGE_PX, denoiser.model.channels), denoiser)
        image = large[0] if large.shape[3] > 1 else large[0, ..., 0]
        size = f"one {LARGE_PX}x{LARGE_PX} image"
        single, streamed = partial(denoiser.denoise, sigma=sigma), partial(denoiser.stream, sigma=sigma)
        yield _ratio(f"denoise / bare session, {size}", lambda: bare(large), lambda: single(image), rounds)
        yield _ratio(f"stream / bare session, {size}", lambda: bare(large), lambda: _consume(streamed([image])), rounds)
        small = _pixels((_SMALL_BATCHES, BATCH, SMALL_PX, SMALL_PX, denoiser.model.channels), denoiser)
        singles = list(small.reshape(-1, *small.shape[2:]))
        yield _ratio(
            f"stream / bare session, {SMALL_PX}x{SMALL_PX} singles in batches of {BATCH}",
            lambda: _consume(map(bare, small)),
            lambda: _consume(streamed(iter(singles))),
            rounds,
        )


def _ratio(name: str, bare: Callable[[], object], ours: Callable[[], object], rounds: int) -> Figure:
    times = time_alternately({"bare": bare, "ours": ours}, rounds)
    bare_ms, ours_ms = (times[who].fastest_ms for who in ("bare", "ours"))
    return Figure(name, bare_ms / ours_ms, "ratio", 0.95, True, f"{bare_ms:.2f} ms bare, {ours_ms:.2f} ms ours")


def _consume(results: Iterator[object]) -> None:
    deque(results, maxlen=0)


def _pixels(shape: tuple[int, ...], denoiser: Denoiser) -> Array:
    noisy = np.random.default_rng(0).random(shape, np.float32)
    return convert(noisy, denoiser.model.io_dtype)
