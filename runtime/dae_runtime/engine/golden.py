"""Replay the golden sample of a model file: compare a device with the exporter.

The largest difference alone says little: different rounding inside the network moves a few pixels by some steps. A device
that computes another function moves many, which shows in the mean: measured up to 0.0005 of the range on exact machines, and
0.0025 or more on machines that saturate sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..contract import Contract

Array = npt.NDArray[Any]

MEAN_TOLERANCE = {"fp32": 1e-5, "fp16": 2e-3, "int8": 1e-3}
"""Largest mean difference of a correct device, in the range [0, 1]; for INT8 a quarter of an 8-bit step."""

DEVICE_TOLERANCE = (8 / 255, 1e-3)
"""Largest and mean difference, in the range [0, 1], allowed on opening a model on a device other than the CPU.

Wider than a self-test's for float32: GPUs round products to TF32, and compute INT8 files in float.
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
        """Whether the differences are within tolerance."""
        return self.max_abs_error <= self.allowed_max and self.mean_abs_error <= self.allowed_mean  # false for NaN

    def __str__(self) -> str:
        """Return the figures as text."""
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
    """Compare an output with the expected one; float outputs are clipped to [0, 1] as by a reader.

    Args:
        received: Output of the model for the golden sample.
        expected: Output of its exporter.
        contract: Contract of the model.
        tolerance: Allowed largest and mean difference, in the range [0, 1]; None for those of the file.
    """
    top = 255 if contract.io_dtype == "uint8" else 1
    difference = np.abs(np.clip(received.astype(np.float64), 0, top) - np.clip(expected.astype(np.float64), 0, top))
    golden = contract.golden
    mean = top * MEAN_TOLERANCE[contract.precision] if golden.mean_abs_error is None else golden.mean_abs_error
    most, mean = (golden.max_abs_error, mean) if tolerance is None else (top * tolerance[0], top * tolerance[1])
    return Replay(float(difference.max()), most, float(difference.mean()), mean)
