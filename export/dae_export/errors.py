"""The errors of the exporter.

Each message says what failed, what was expected, what was received, and the remedy. No file has been written when one is
raised.

    DaeError
    └── ExportError
        ├── KerasFileError     the source is not an exportable Keras model
        ├── ConversionError    the model cannot be converted to an ONNX graph
        ├── ParityError        the graph does not compute what the Keras model computes
        ├── CalibrationError   the samples for INT8 are missing or unusable
        ├── GateError          the file fails a quality or speed gate
        └── DestinationError   the output file exists, or cannot be written
"""

from __future__ import annotations

from dae_runtime.errors import DaeError


class ExportError(DaeError):
    """Base class of every error that the exporter raises on purpose."""


class KerasFileError(ExportError):
    """The source is not an exportable Keras model."""


class ConversionError(ExportError):
    """The model cannot be converted to an ONNX graph."""


class ParityError(ExportError):
    """The graph does not compute what the Keras model computes."""


class CalibrationError(ExportError):
    """The samples for INT8 are missing or unusable."""


class GateError(ExportError):
    """The file fails a quality or speed gate."""


class DestinationError(ExportError):
    """The output file exists, or cannot be written."""
