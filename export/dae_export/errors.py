"""The errors of the exporter.

Every text says what went wrong, what was expected, what was received, and what to do about it. Whichever is raised, no file
has been written.

    DaeError
    └── ExportError
        ├── KerasFileError     the source is no Keras model that can be exported
        ├── ConversionError    the model cannot be written as an ONNX graph of ours
        ├── ParityError        the graph does not compute what the Keras model computes
        ├── CalibrationError   the samples for INT8 are missing or unusable
        ├── GateError          the file would be worse than what was asked for
        └── DestinationError   the output file exists, or cannot be written
"""

from __future__ import annotations

from dae_runtime.errors import DaeError


class ExportError(DaeError):
    """Base class of every error that the exporter raises on purpose."""


class KerasFileError(ExportError):
    """The source is no Keras model that can be exported."""


class ConversionError(ExportError):
    """The model cannot be written as an ONNX graph of ours."""


class ParityError(ExportError):
    """The graph does not compute what the Keras model computes."""


class CalibrationError(ExportError):
    """The samples for INT8 are missing or unusable."""


class GateError(ExportError):
    """The file would be worse than what was asked for."""


class DestinationError(ExportError):
    """The output file exists, or cannot be written."""
