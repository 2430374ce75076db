"""The places of the files that an export writes: checked before the work begins, and written whole or not at all."""

from __future__ import annotations

from pathlib import Path

from dae_runtime.system.atomic import write_atomic

from ..errors import DestinationError

MODEL_SUFFIXES = (".onnx",)
REPORT_SUFFIXES = (".html", ".htm")


def check_destination(path: Path, suffixes: tuple[str, ...], flag: str, overwrite: bool) -> None:
    """Check that a file can be written.

    Args:
        path: Where to.
        suffixes: How its name may end.
        flag: What chose it, for the remedy: `--output`.
        overwrite: Whether it may exist.

    Raises:
        DestinationError: It cannot be written, or exists already.
    """
    if path.is_dir() or not path.parent.is_dir():
        problem = "is a folder" if path.is_dir() else f"cannot be written: there is no folder {path.parent}"
        raise DestinationError(f"{path} {problem}. Give the path of a file with {flag}.")
    if path.suffix not in suffixes:
        raise DestinationError(f"{path}: expected a name that ends in {suffixes[0]}, received {path.name!r}.")
    if path.exists() and not overwrite:
        raise DestinationError(f"{path} exists already. Replace it with --overwrite, or give another {flag}.")


def write_file(path: Path, content: bytes, flag: str, overwrite: bool) -> None:
    """Write a file in one step.

    Raises:
        DestinationError: It cannot be written, or appeared meanwhile.
    """
    try:
        write_atomic(path, content, overwrite=overwrite)
    except FileExistsError as error:
        raise DestinationError(f"{path} appeared during the export. Replace it with --overwrite.") from error
    except OSError as error:
        raise DestinationError(f"{path} cannot be written: {error.strerror or error}. Give another {flag}.") from error
