"""Convert a trained Keras denoiser to one ONNX file, and prove that it is the same function.

    from dae_export import ExportOptions, export

    result = export("runs/first", "denoiser.onnx", ExportOptions(quantize=True))
    print(result.size_bytes, result.contract.quality)

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
    from .conversion import Converted, convert_file
    from .pipeline import ExportResult, export
    from .precision import LayerSums, check_sums, is_exact

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
    "check_sums",
    "convert_file",
    "export",
    "is_exact",
]
_ONNX_ONLY = {
    **dict.fromkeys(("check_sums", "is_exact", "LayerSums"), "precision"),
    **dict.fromkeys(("convert_file", "Converted"), "conversion"),
}


def __getattr__(name: str) -> Any:
    if name in ("export", "ExportResult"):
        from dae_runtime.command import require

        require("dae_export", "export", "tensorflow", "tf2onnx", "onnx")
        from . import pipeline

        return getattr(pipeline, name)
    if name in _ONNX_ONLY:
        from dae_runtime.command import require

        require("dae_export", "export", "onnx")
        return getattr(importlib.import_module(f".{_ONNX_ONLY[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
