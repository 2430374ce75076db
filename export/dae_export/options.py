"""Options of an export; imports the standard library and light parts of the runtime only."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from dae_runtime.contract import CALIBRATION_METHODS, IO_DTYPES
from dae_runtime.errors import InputError
from dae_runtime.system.bounds import first_misfit, shown

STAGES = "dae_export.stages"
"""Name of the logger that tells at level INFO what is done next."""
OPSETS = range(13, 19)
"""ONNX opsets: from the first with per-channel DequantizeLinear to the last of tf2onnx."""
DTYPES = ("fp32", "fp16")
PROGRAMS = ("darktable", "ffmpeg", "vapoursynth", "openvino", "triton", "plain")
"""Programs that files are made for; `plain` is for any other that hands over N x C x H x W."""

AUTO = "auto"


@dataclass(frozen=True)
class ExportOptions:
    """Options of an export, validated on creation."""

    name: str | None = None
    """Model name stored in the file; None: the name of the run or of the `.keras` file."""
    quantize: bool = False
    """Write an INT8 model instead of a float one."""
    dtype: str = "fp32"
    """Precision of a model that is not quantized, one of `DTYPES`; fp16 is for CUDA."""
    io: str = "float32"
    """Element type of input and output: `float32` in [0, 1] or `uint8` in 0..255."""
    opset: int = 18
    """ONNX opset, one of `OPSETS`."""
    rewrite: bool = True
    """Write the fastest variant of the graph on this machine; False for the canonical graph."""
    pad: bool = True
    """Pad and crop inside the graph, to accept any height and width; False: multiples of the alignment."""
    calibration_data: str | os.PathLike[str] | None = None
    """Noisy images for INT8, an .npz or .npy file or a folder; None for the samples of the training run."""
    calibration_method: str = AUTO
    """How activation ranges are determined: one of `dae_runtime.contract.CALIBRATION_METHODS`, or `auto` for the best of
    minmax and both percentiles on the calibration samples."""
    max_psnr_drop: float = 0.1
    """Largest loss of PSNR in dB by INT8 or FP16."""
    max_color_shift: float = 0.5
    """Largest mean shift of a channel by INT8 or FP16, up or down, in 8-bit steps."""
    min_psnr_gain: float = 0.0
    """Least gain of PSNR in dB over the noisy samples, where they have clean references; below 0 for a network that is not
    trained yet."""
    min_speedup: float | None = None
    """Least speedup of INT8 over float32 on this machine; None for no limit."""
    atol: float = 1e-5
    """Largest absolute difference between the float32 graph and the Keras model, in units of the value range [0, 1]."""
    report: str | os.PathLike[str] | None = None
    """HTML page to write beside the model; None for none. Takes about 20 seconds."""
    sidecar: bool = False
    """Also write the contract as a .json file beside the model, for languages that cannot read it from there."""
    overwrite: bool = False
    """Overwrite existing output files."""

    def __post_init__(self) -> None:
        if misfit := first_misfit(self):
            _check(False, *misfit)
        _check(self.dtype in DTYPES, "dtype", " or ".join(DTYPES), self.dtype)
        _check(self.io in IO_DTYPES, "io", " or ".join(IO_DTYPES), self.io)
        _check(not self.quantize or self.dtype == "fp32", "dtype", "fp32 together with --quantize", self.dtype)
        _check(self.opset in OPSETS, "opset", f"from {OPSETS[0]} to {OPSETS[-1]}", self.opset)
        methods = (AUTO, *CALIBRATION_METHODS)
        _check(
            self.calibration_method in methods, "calibration_method", "one of " + ", ".join(methods), self.calibration_method
        )
        if not self.quantize:
            _check(
                self.calibration_method == AUTO, "calibration_method", "omitted without --quantize", self.calibration_method
            )
        drop, shift, speedup = self.max_psnr_drop, self.max_color_shift, self.min_speedup
        _check(math.isfinite(drop) and drop >= 0, "max_psnr_drop", "a number of dB, at least 0", drop)
        _check(math.isfinite(shift) and shift >= 0, "max_color_shift", "a number of 8-bit steps, at least 0", shift)
        _check(math.isfinite(self.min_psnr_gain), "min_psnr_gain", "a number of dB", self.min_psnr_gain)
        _check(speedup is None or (math.isfinite(speedup) and speedup > 0), "min_speedup", "a number above 0", speedup)
        _check(speedup is None or self.quantize, "min_speedup", "omitted without --quantize", speedup)
        _check(math.isfinite(self.atol) and self.atol > 0, "atol", "a number above 0", self.atol)

    @property
    def precision(self) -> str:
        """Precision, as in the contract: `fp32`, `fp16` or `int8`."""
        return "int8" if self.quantize else self.dtype


def _check(condition: bool, name: str, expected: str, received: object) -> None:
    """Check a field; the error names its flag of dae-export."""
    if not condition:
        raise InputError(f"--{name.replace('_', '-')} must be {expected}, not {shown(received)}.")
