"""Output files: checked before the export, and written atomically."""

from __future__ import annotations

import os
from pathlib import Path

from dae_runtime.errors import ImageError, InputError
from dae_runtime.system.atomic import write_atomic
from dae_runtime.system.paths import check_reachable, is_folder

from ..errors import DestinationError

MODEL_SUFFIXES = (".onnx",)
REPORT_SUFFIXES = (".html", ".htm")


def check_destination(path: Path, suffixes: tuple[str, ...], flag: str, overwrite: bool) -> None:
    """Check that a file can be written.

    Args:
        path: The output file.
        suffixes: Allowed suffixes.
        flag: Flag for the error text, such as `--output`.
        overwrite: Whether the file may exist.

    Raises:
        DestinationError: It cannot be written, or already exists.
    """
    try:
        check_reachable(path, flag)
    except (ImageError, InputError) as error:
        raise DestinationError(str(error)) from error
    if is_folder(path) or not is_folder(path.parent):
        problem = "is a folder" if is_folder(path) else f"cannot be written: the folder {path.parent} does not exist"
        raise DestinationError(f"{path} {problem}. Give the path of a file with {flag}.")
    if path.suffix not in suffixes:
        raise DestinationError(f"{path}: expected a name that ends in {suffixes[0]}, received {path.name!r}.")
    if os.path.lexists(path) and not overwrite:
        raise DestinationError(f"{path} already exists. Replace it with --overwrite, or give another {flag}.")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise DestinationError(
            f"{path} cannot be written: no permission to write to the folder {path.parent}, or a read-only disk. "
            f"Give another {flag}."
        )


def write_file(path: Path, content: bytes, flag: str, overwrite: bool) -> None:
    """Write a file atomically.

    Raises:
        DestinationError: It cannot be written, or has been created during the export.
    """
    try:
        write_atomic(path, content, overwrite=overwrite)
    except FileExistsError as error:
        raise DestinationError(f"{path} was created during the export. Replace it with --overwrite.") from error
    except OSError as error:
        raise DestinationError(f"{path} cannot be written: {error.strerror or error}. Give another {flag}.") from error
