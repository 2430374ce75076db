"""What two programs agree on: the contract of a model file, and the files of a training run. Standard library only."""

from .document import (
    CALIBRATION_METHODS,
    FORMAT_NAME,
    FORMAT_VERSION,
    INPUT_NAME,
    IO_DTYPES,
    METADATA_KEY,
    OUTPUT_NAME,
    PRECISIONS,
    Calibration,
    Contract,
    Golden,
    Parity,
    Quality,
    from_json,
    to_json,
)
from .run_directory import RunDirectory, read_description

__all__ = [
    "CALIBRATION_METHODS",
    "FORMAT_NAME",
    "FORMAT_VERSION",
    "INPUT_NAME",
    "IO_DTYPES",
    "METADATA_KEY",
    "OUTPUT_NAME",
    "PRECISIONS",
    "Calibration",
    "Contract",
    "Golden",
    "Parity",
    "Quality",
    "RunDirectory",
    "from_json",
    "read_description",
    "to_json",
]
