"""Convert a trained Keras denoiser to one ONNX file, and prove that it is the same function.

    from dae_export import ExportOptions, export

    result = export("runs/first", "denoiser.onnx", ExportOptions(quantize=True))
    print(result.size_bytes, result.contract.quality)

Importing this package loads neither TensorFlow nor onnx; they are loaded when `export` is first used.
"""

from __future__ import annotations

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
    from .pipeline import ExportResult, export

__all__ = [
    "CalibrationError",
    "ConversionError",
    "DestinationError",
    "ExportError",
    "ExportOptions",
    "ExportResult",
    "GateError",
    "KerasFileError",
    "ParityError",
    "export",
]


def __getattr__(name: str) -> Any:
    if name in ("export", "ExportResult"):
        from dae_runtime.command import require

        require("dae_export", "export", "tensorflow", "tf2onnx", "onnx")
        from . import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
