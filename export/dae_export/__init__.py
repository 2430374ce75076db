"""Export a trained Keras denoiser to one ONNX file, and verify that it computes the same function.

    from dae_export import ExportOptions, export

    result = export("runs/first", "denoiser.onnx", ExportOptions(quantize=True))
    print(result.size_bytes, result.contract.quality)

docs/python-api.md describes the rest.
Importing this package loads neither TensorFlow nor onnx; they are loaded when `export` is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .errors import (
    CalibrationError,
    ConversionError,
    DestinationError,
    ExportError,
    GateError,
    KerasFileError,
    ParityError,
)
from .options import ExportOptions

if TYPE_CHECKING:
    from .pipeline import ExportResult, export, export_for
    from .precision import LayerSums, check_sums, is_exact
    from .product import Converted, ProgramFile, convert_file

__all__ = [
    "CalibrationError",
    "ConversionError",
    "Converted",
    "DestinationError",
    "ExportError",
    "ExportOptions",
    "ExportResult",
    "GateError",
    "KerasFileError",
    "LayerSums",
    "ParityError",
    "ProgramFile",
    "check_sums",
    "convert_file",
    "export",
    "export_for",
    "is_exact",
]
_HOMES = {
    **dict.fromkeys(("export", "ExportResult"), ("pipeline", "tensorflow", "tf2onnx", "onnx")),
    "export_for": ("pipeline", "onnx"),  # a model file needs no TensorFlow
    **dict.fromkeys(("check_sums", "is_exact", "LayerSums"), ("precision", "onnx")),
    **dict.fromkeys(("convert_file", "Converted", "ProgramFile"), ("product", "onnx")),
}
"""Module and required packages of each lazy name."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from dae_runtime.system.command import require

    home, *packages = _HOMES[name]
    require("dae_export", "export", *packages)
    return getattr(importlib.import_module(f".{home}", __name__), name)
