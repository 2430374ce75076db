"""The golden sample of a model file, replayed: what a device computed against what the exporter got.

The largest difference alone tells little: rounding that falls the other way somewhere inside moves a few pixels by some steps.
A device that computes something else moves many, which the mean shows: seen on exact machines up to 0.0005 of the range, on
those that cut off sums 0.0025 and more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..contract import Contract

Array = npt.NDArray[Any]

MEAN_TOLERANCE = {"fp32": 1e-5, "fp16": 2e-3, "int8": 1e-3}
"""Largest mean difference of a sound device, in the range [0, 1]: for an INT8 file a quarter of a step of 8 bits."""

DEVICE_TOLERANCE = (8 / 255, 1e-3)
"""Largest and mean difference, in the range [0, 1], that a device other than the CPU may show when a model is opened on it.

Wider than a self-test's for float32: GPUs round products to TF32, and compute an INT8 file in floats.
"""


@dataclass(frozen=True)
class Replay:
    """Differences from the expected output, in units of the model's value range."""

    max_abs_error: float
    allowed_max: float
    mean_abs_error: float
    allowed_mean: float

    @property
    def passed(self) -> bool:
        """Whether the device may be trusted with this model."""
        return self.max_abs_error <= self.allowed_max and self.mean_abs_error <= self.allowed_mean  # false for NaN

    def __str__(self) -> str:
        """Return the figures, for people."""
        return (
            f"largest error {self.max_abs_error:.3g} (allowed {self.allowed_max:.3g}), "
            f"mean {self.mean_abs_error:.3g} (allowed {self.allowed_mean:.3g})"
        )


def golden_arrays(contract: Contract) -> tuple[Array, Array]:
    """Return the noisy input and the expected output of the golden sample, (1, H, W, C) each, in the model's dtype."""
    golden = contract.golden
    dtype = np.dtype(contract.io_dtype).newbyteorder("<")
    noisy, expected = (np.frombuffer(data, dtype).reshape(golden.shape) for data in (golden.noisy, golden.denoised))
    return np.ascontiguousarray(noisy, contract.io_dtype), np.ascontiguousarray(expected, contract.io_dtype)


def golden_sigma(contract: Contract) -> npt.NDArray[np.float32] | None:
    """Return the noise level given with the golden sample as (1, 1) float32; None for a model that takes none."""
    sigma = contract.golden.sigma
    return None if sigma is None else np.full((1, 1), sigma, np.float32)


def compare(received: Array, expected: Array, contract: Contract, tolerance: tuple[float, float] | None = None) -> Replay:
    """Compare an output with the expected one; float outputs as a reader clips them, to [0, 1].

    Args:
        received: What the model gave for the golden sample.
        expected: What its exporter got.
        contract: Of the model.
        tolerance: Largest and mean difference allowed, in the range [0, 1]; None for those of the file.
    """
    top = 255 if contract.io_dtype == "uint8" else 1
    difference = np.abs(np.clip(received.astype(np.float64), 0, top) - np.clip(expected.astype(np.float64), 0, top))
    golden = contract.golden
    mean = top * MEAN_TOLERANCE[contract.precision] if golden.mean_abs_error is None else golden.mean_abs_error
    most, mean = (golden.max_abs_error, mean) if tolerance is None else (top * tolerance[0], top * tolerance[1])
    return Replay(float(difference.max()), most, float(difference.mean()), mean)
