"""Records the input of each run of the engine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dae_runtime import Denoiser


def _record_shapes(denoiser: Denoiser) -> list[tuple[int, ...]]:
    """Return a list that gets the shape of each run of the engine."""
    shapes: list[tuple[int, ...]] = []
    run = denoiser._first._run
    denoiser._first._run = lambda batch, sigma=None, **options: shapes.append(batch.shape) or run(batch, sigma, **options)
    return shapes


@pytest.fixture(scope="session")
def record_shapes() -> Callable[[Denoiser], list[tuple[int, ...]]]:
    return _record_shapes
