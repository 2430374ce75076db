"""What goes into a model in one run: noisy images, and their noise levels where it is given them."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np

from dae_runtime.contract import INPUT_NAME, SIGMA_NAME, Shape, SigmaInput, gaussian_range
from dae_runtime.pixels.arrays import Array, FloatArray, convert

from ..errors import CalibrationError

TYPICAL_SIGMA = 0.1
"""A noise level for runs whose result does not matter."""


class Leveled(NamedTuple):
    """Images of known noise levels."""

    noisy: FloatArray
    """(N, H, W, C), nominally in [0, 1]."""
    sigma: FloatArray
    """(N, 1), the standard deviation of the noise of each, on the scale where white is 1."""


Batch: TypeAlias = FloatArray | Leveled
"""Images (N, H, W, C) for a model that takes nothing else, or with their levels for one that does."""


def images_of(batch: Batch) -> FloatArray:
    """Return the images of a batch, (N, H, W, C)."""
    return batch.noisy if isinstance(batch, Leveled) else batch


def with_images(batch: Batch, noisy: FloatArray) -> Batch:
    """Return a batch of other images of the same levels."""
    return batch._replace(noisy=noisy) if isinstance(batch, Leveled) else noisy


def part_of(batch: Batch, start: int, stop: int) -> Batch:
    """Return some images of a batch, with their levels."""
    return Leveled(*(array[start:stop] for array in batch)) if isinstance(batch, Leveled) else batch[start:stop]


def feeds(batch: Batch) -> dict[str, FloatArray]:
    """Return the arrays of a batch by the names of a model's inputs."""
    return dict(zip((INPUT_NAME, SIGMA_NAME), arguments(batch), strict=False))


def arguments(batch: Batch) -> tuple[FloatArray, ...]:
    """Return a batch as the arguments of what runs a model: `run_session`, or the Keras model."""
    return tuple(batch) if isinstance(batch, Leveled) else (batch,)


def takes_pixels(session: Any) -> bool:
    """Return whether an opened model takes and returns uint8, not float32."""
    return bool(session.get_inputs()[0].type == "tensor(uint8)")


def as_taken(session: Any, batch: Batch) -> tuple[Array, ...]:
    """Return the arguments of a run of an opened model, the images rounded to 8 bits where it takes these."""
    noisy, *levels = arguments(batch)
    return convert(noisy, np.uint8 if takes_pixels(session) else np.float32), *levels


def random_batch(session: Any, shape: Shape) -> tuple[Array, ...]:
    """Return the arguments of a run of an opened model on random images, to take its time."""
    noisy = np.random.default_rng(0).random(shape, np.float32)
    levels = np.full((shape[0], 1), TYPICAL_SIGMA, np.float32)
    return as_taken(session, noisy if len(session.get_inputs()) == 1 else Leveled(noisy, levels))


def spread(levels: SigmaInput, count: int) -> FloatArray:
    """Return levels over a whole range, both ends among them, in no order: (count, 1)."""
    ends = np.linspace(levels.low, levels.high, count, dtype=np.float32)
    return np.random.default_rng(0).permutation(ends)[:, None]


def trained_range(noise: str, seen: FloatArray | None, where: str) -> SigmaInput:
    """Return the levels that a model was trained on.

    Args:
        noise: Specification of the noise.
        seen: Levels of its samples; None where they are not known.
        where: What the model is, for the error.

    Raises:
        CalibrationError: Neither of both tells.
    """
    found = gaussian_range(noise)
    if found is None and seen is not None:
        found = float(seen.min()), float(seen.max())
    if found is None:
        raise CalibrationError(
            f"{where} is given the noise level, and nothing says which levels it was trained on. Export its run directory, or "
            "give --calibration-data with an .npz file that has the array sigma, or noise='gaussian:LOW-HIGH' to "
            "dae_export.export."
        )
    low, high = found
    return SigmaInput(low if low < min(high, 1) else 0, min(high, 1))
