"""Benchmark, first part: the Denoiser beside a bare onnxruntime session on the same arrays."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from .arrays import Array, convert
from .contract import INPUT_NAME, OUTPUT_NAME
from .denoiser import Denoiser

BATCH = 256
SMALL_PX = 28
LARGE_PX = 512
_SMALL_BATCHES = 4


@dataclass(frozen=True)
class Figure:
    """One measured number beside its target."""

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


def speed_figures(model: str, rounds: int) -> Iterator[Figure]:
    """Compare throughputs, in alternation, by the fastest of the rounds: what disturbs only ever slows down."""
    with Denoiser(model) as denoiser:
        run = denoiser._session.run  # its own session: the waiting threads of a second one would disturb it

        def bare(batch: Array) -> object:
            return run([OUTPUT_NAME], {INPUT_NAME: batch})

        large = _pixels((1, LARGE_PX, LARGE_PX, denoiser.model.channels), denoiser)
        image = large[0] if large.shape[3] > 1 else large[0, ..., 0]
        engine, ours = _fastest(lambda: bare(large), lambda: denoiser.denoise(image), rounds)
        yield Figure(
            f"denoise / bare session, one {LARGE_PX}x{LARGE_PX} image", engine / ours, "ratio", 0.95, True, _note(engine, ours)
        )
        streamed = _fastest(lambda: bare(large), lambda: list(denoiser.stream([image])), rounds)
        yield Figure(
            f"stream / bare session, one {LARGE_PX}x{LARGE_PX} image",
            streamed[0] / streamed[1],
            "ratio",
            0.95,
            True,
            _note(*streamed),
        )
        small = _pixels((_SMALL_BATCHES, BATCH, SMALL_PX, SMALL_PX, denoiser.model.channels), denoiser)
        singles = list(small.reshape(-1, *small.shape[2:]))
        engine, ours = _fastest(lambda: [bare(batch) for batch in small], lambda: list(denoiser.stream(iter(singles))), rounds)
        yield Figure(
            f"stream / bare session, {SMALL_PX}x{SMALL_PX} singles in batches of {BATCH}",
            engine / ours,
            "ratio",
            0.95,
            True,
            _note(engine, ours),
        )


def _pixels(shape: tuple[int, ...], denoiser: Denoiser) -> Array:
    noisy = np.random.default_rng(0).random(shape, np.float32)
    return convert(noisy, denoiser.model.io_dtype)


def _fastest(first: Callable[[], object], second: Callable[[], object], rounds: int) -> tuple[float, float]:
    best = [float("inf"), float("inf")]
    for index in range(rounds + 1):  # the first round warms up
        for which, action in enumerate((first, second)):
            start = time.perf_counter()
            action()
            if index:
                best[which] = min(best[which], time.perf_counter() - start)
    return best[0], best[1]


def _note(bare: float, ours: float) -> str:
    return f"{bare * 1e3:.2f} ms bare, {ours * 1e3:.2f} ms ours"
