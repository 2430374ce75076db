"""What one export is asked for. Light: nothing but the standard library and the light part of the runtime is imported."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from dae_runtime.contract import CALIBRATION_METHODS
from dae_runtime.errors import InputError

OPSETS = range(13, 19)
"""ONNX operator versions: from the first with per-channel DequantizeLinear to the last that tf2onnx writes."""


@dataclass(frozen=True)
class ExportOptions:
    """What one export is asked for; impossible values are refused when it is made."""

    quantize: bool = False
    """Write an INT8 model instead of a float32 one."""
    opset: int = 18
    """Version of the ONNX operators, one of `OPSETS`."""
    calibration_data: Path | None = None
    """Noisy images for INT8, an .npz or .npy file or a folder; None for the samples that the training run left."""
    calibration_method: str = "minmax"
    """How the ranges of the activations are chosen, one of `dae_runtime.contract.CALIBRATION_METHODS`."""
    max_psnr_drop: float = 0.1
    """Largest PSNR in dB that INT8 may cost."""
    atol: float = 1e-5
    """Largest absolute difference between the float32 graph and the Keras model, in units of the value range [0, 1]."""
    overwrite: bool = False
    """Replace an output file that exists."""

    def __post_init__(self) -> None:
        _check(self.opset in OPSETS, "opset", f"from {OPSETS[0]} to {OPSETS[-1]}", self.opset)
        known = self.calibration_method in CALIBRATION_METHODS
        _check(known, "calibration_method", "one of " + ", ".join(CALIBRATION_METHODS), self.calibration_method)
        drop = self.max_psnr_drop
        _check(math.isfinite(drop) and drop >= 0, "max_psnr_drop", "a number of dB, at least 0", drop)
        _check(math.isfinite(self.atol) and self.atol > 0, "atol", "a number above 0", self.atol)


def _check(condition: bool, name: str, expected: str, received: object) -> None:
    if not condition:
        raise InputError(f"{name} must be {expected}, not {received!r}.")
