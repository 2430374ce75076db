"""Objects of a contract: calibration, parity, quality and the golden sample."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from ..errors import ModelError

CALIBRATION_METHODS = ("minmax", "entropy", "percentile", "percentile-99.9")
SIGMA_FORMS = ("value", "map", "plane")
"""How a file takes the noise level: as `sigma`, (N, 1); as `sigma`, (N, 1, H, W); or as the last channel of `noisy`, beside
those of the image. Each image has one level: of a map or plane the mean counts."""


@dataclass(frozen=True)
class Calibration:
    """Calibration of an INT8 model."""

    method: str
    """One of `CALIBRATION_METHODS`."""
    samples: int
    """Number of noisy images used."""
    source: str
    """Their origin as text."""

    def __post_init__(self) -> None:
        check(self.method in CALIBRATION_METHODS, "calibration.method", " or ".join(CALIBRATION_METHODS), self.method)
        check(is_count(self.samples), "calibration.samples", "a positive whole number", self.samples)
        check(isinstance(self.source, str), "calibration.source", "text", self.source)


@dataclass(frozen=True)
class Parity:
    """Difference between the exported float32 graph and the Keras model, measured at export before quantization."""

    max_abs_error: float
    """Largest absolute difference over all cases, in units of the value range [0, 1]."""
    tolerance: float
    """Tolerance of the export."""
    shapes: tuple[tuple[int, ...], ...]
    """The (N, H, W, C) of each case."""

    def __post_init__(self) -> None:
        for name in ("max_abs_error", "tolerance"):
            check(is_number(getattr(self, name)), f"parity.{name}", "a finite number", getattr(self, name))
        check(0 <= self.max_abs_error <= self.tolerance, "parity.max_abs_error", "0..tolerance", self.max_abs_error)
        object.__setattr__(self, "shapes", tuple(tuple(shape) for shape in self.shapes))
        sound = all(len(shape) == 4 and all(map(is_count, shape)) for shape in self.shapes)
        check(bool(self.shapes) and sound, "parity.shapes", "a list of (N, H, W, C)", self.shapes)


@dataclass(frozen=True)
class Quality:
    """PSNR in dB over held-out noisy samples with clean references, from the mean squared error over all of them."""

    samples: int
    noisy_psnr_db: float
    """Of the input."""
    fp32_psnr_db: float
    """Of the float32 model's output."""
    psnr_db: float
    """Of this file's output; equal to `fp32_psnr_db` for a float32 file."""

    def __post_init__(self) -> None:
        check(is_count(self.samples), "quality.samples", "a positive whole number", self.samples)
        for name in ("noisy_psnr_db", "fp32_psnr_db", "psnr_db"):
            check(is_number(getattr(self, name)), f"quality.{name}", "a finite number", getattr(self, name))


@dataclass(frozen=True)
class SigmaInput:
    """The noise level that a model is given: its second input `sigma`, (N, 1) float32, or another of `SIGMA_FORMS`.

    It is the standard deviation of the noise over all pixels and channels of an image, on the scale where white is 1, whatever
    `io_dtype` says. At 0 the output is the input.

    Source:
        Zhang, Zuo, Zhang: FFDNet: toward a fast and flexible solution for CNN-based image denoising. IEEE TIP 27(9), 2018.
    """

    low: float
    """Least level trained on."""
    high: float
    """Greatest level trained on."""
    form: str = SIGMA_FORMS[0]
    """One of `SIGMA_FORMS`; the others are for other programs."""

    def __post_init__(self) -> None:
        check(self.form in SIGMA_FORMS, "sigma.form", " or ".join(SIGMA_FORMS), self.form)
        sound = is_number(self.low) and is_number(self.high) and 0 <= self.low < self.high <= 1
        check(sound, "sigma", "levels 0 <= low < high <= 1", (self.low, self.high))


@dataclass(frozen=True)
class Golden:
    """A small noisy input with the exporter's output, for replay on any device."""

    shape: tuple[int, ...]
    """(1, H, W, C) of both arrays."""
    noisy: bytes
    """Input, little-endian, C order, in the contract's `io_dtype`."""
    denoised: bytes
    """Expected output, likewise."""
    max_abs_error: float
    """Largest absolute difference of a correct device, in units of the value range of `io_dtype`."""
    mean_abs_error: float | None = None
    """Likewise the largest mean absolute difference; None in files of version 1."""
    sigma: float | None = None
    """Noise level given with the input; only of models that take one."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))
        sound = len(self.shape) == 4 and self.shape[0] == 1 and all(map(is_count, self.shape))
        check(sound, "golden.shape", "(1, H, W, C)", self.shape)
        check(len(self.noisy) == len(self.denoised), "golden", "arrays of one size", len(self.denoised))
        sound = is_number(self.max_abs_error) and self.max_abs_error >= 0
        check(sound, "golden.max_abs_error", "a finite number, at least 0", self.max_abs_error)
        mean = self.mean_abs_error
        sound = mean is None or (is_number(mean) and mean >= 0)
        check(sound, "golden.mean_abs_error", "null or a finite number, at least 0", mean)
        sound = self.sigma is None or (is_number(self.sigma) and 0 <= self.sigma <= 1)
        check(sound, "golden.sigma", "null or from 0 to 1", self.sigma)


def is_count(value: object) -> bool:
    """Tell whether a value is a positive whole number."""
    return type(value) is int and value > 0


def is_number(value: object) -> bool:
    """Tell whether a value is a finite number and not a bool."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def check(condition: bool, name: str, expected: str, received: object) -> None:
    """Raise ModelError unless a condition on a field holds."""
    if not condition:
        raise ModelError(f"{name} must be {expected}, not {received!r}")
