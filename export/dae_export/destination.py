"""The model file's place: checked before the work begins, and written whole or not at all."""

from __future__ import annotations

from pathlib import Path

from dae_runtime.system.atomic import write_atomic

from .errors import DestinationError
from .options import ExportOptions


def check_destination(target: Path, options: ExportOptions) -> None:
    """Check that a model file can be written.

    Raises:
        DestinationError: It cannot, or exists already.
    """
    if target.is_dir() or not target.parent.is_dir():
        problem = "is a folder" if target.is_dir() else f"cannot be written: there is no folder {target.parent}"
        raise DestinationError(f"{target} {problem}. Give the path of a file with --output.")
    if target.suffix != ".onnx":
        raise DestinationError(f"{target}: expected a name that ends in .onnx, received {target.name!r}.")
    if target.exists() and not options.overwrite:
        raise DestinationError(f"{target} exists already. Replace it with --overwrite, or give another --output.")


def write_model(target: Path, content: bytes, overwrite: bool) -> None:
    """Write a model file in one step.

    Raises:
        DestinationError: It cannot be written, or appeared meanwhile.
    """
    try:
        write_atomic(target, content, overwrite=overwrite)
    except FileExistsError as error:
        raise DestinationError(f"{target} appeared during the export. Replace it with --overwrite.") from error
    except OSError as error:
        raise DestinationError(f"{target} cannot be written: {error.strerror or error}. Give another --output.") from error
