"""What two programs agree on: the contract of a model file, and the files of a training run. Standard library only."""

from .document import (
    EXACT_PAIR_LIMIT,
    FORMAT_NAME,
    FORMAT_VERSION,
    INPUT_NAME,
    IO_DTYPES,
    METADATA_KEY,
    OUTPUT_NAME,
    PRECISIONS,
    READABLE_VERSIONS,
    Contract,
    from_json,
    to_json,
)
from .image_spec import ImageSpec, Shape
from .parts import CALIBRATION_METHODS, Calibration, Golden, Parity, Quality
from .run_directory import RunDirectory, read_description

__all__ = [
    "CALIBRATION_METHODS",
    "EXACT_PAIR_LIMIT",
    "FORMAT_NAME",
    "FORMAT_VERSION",
    "INPUT_NAME",
    "IO_DTYPES",
    "METADATA_KEY",
    "OUTPUT_NAME",
    "PRECISIONS",
    "READABLE_VERSIONS",
    "Calibration",
    "Contract",
    "Golden",
    "ImageSpec",
    "Parity",
    "Quality",
    "RunDirectory",
    "Shape",
    "from_json",
    "read_description",
    "to_json",
]
