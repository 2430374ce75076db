"""The self-test: does this device compute what the exporter computed?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..contract import Golden
from ..inference import Denoiser


@dataclass(frozen=True)
class SelfTest:
    """The outcome of replaying a model's golden sample."""

    max_abs_error: float
    """Largest absolute difference from the expected output, in units of the model's value range."""
    allowed: float
    """The largest that a sound device may show."""

    @property
    def passed(self) -> bool:
        """Whether the device may be trusted with this model."""
        return self.max_abs_error <= self.allowed  # false for NaN


def self_test(denoiser: Denoiser) -> SelfTest:
    """Replay the model's golden sample on the denoiser's device.

    Raises:
        DaeError: The model cannot be run.
    """
    golden = denoiser.model.golden
    noisy, expected = (_array(data, golden, denoiser.model.io_dtype) for data in (golden.noisy, golden.denoised))
    if expected.dtype == np.float32:  # the writer clips nothing, the reader does
        expected = np.clip(expected, 0, 1)
    received = denoiser.denoise(noisy)
    difference = np.abs(received.astype(np.float64) - expected.astype(np.float64))
    return SelfTest(float(difference.max()), golden.max_abs_error)


def _array(data: bytes, golden: Golden, io_dtype: str) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    return np.frombuffer(data, np.dtype(io_dtype).newbyteorder("<")).reshape(golden.shape)
