"""Where the files for other programs go: named, and checked before the work."""

from __future__ import annotations

import os
from pathlib import Path

from dae_runtime.errors import InputError

from ...errors import DestinationError
from ...options import ExportOptions
from ..destination import check_destination
from ..strategies import choose_strategy
from .demands import DEMANDS
from .packages import darktable_id


def find_target(program: str, destination: Path | None, home: Path, name: str, options: ExportOptions) -> Path:
    """Return the path of the file, or of the folder for Triton.

    Args:
        program: One of `dae_export.options.PROGRAMS`.
        destination: The path; an existing folder, in which the file gets its usual name; None for that name in `home`.
        home: Folder of the files that no path is given for.
        name: Name of the model.
        options: The options; the precision is part of the usual name.

    Raises:
        InputError: The name of the model, which would be that of the file, is a path.
    """
    if destination is not None and (not destination.is_dir() or _is_model(destination)):
        return destination
    if "/" in name or os.sep in name:
        raise InputError(f"--name becomes the name of a file, and {name!r} is a path. Give --output for another folder.")
    stem = {"darktable": darktable_id(name), "triton": name}.get(program, f"{name}-{program}")
    return (destination or home) / f"{stem}{choose_strategy(options).suffix}{DEMANDS[program].suffix}"


def check_target(program: str, target: Path, options: ExportOptions) -> Path | None:
    """Check that a file can be written, and return the path of its sidecar if one is wanted.

    Raises:
        DestinationError: It cannot be written, or already exists.
    """
    if DEMANDS[program].suffix:
        check_destination(target, (DEMANDS[program].suffix,), "--output", options.overwrite)
    elif not target.parent.is_dir() or target.is_file():
        raise DestinationError(f"{target} cannot be a model of a repository. Give the path of a new folder with --output.")
    elif target.exists() and any(target.iterdir()) and not options.overwrite:
        raise DestinationError(f"{target} already exists. Replace it with --overwrite, or give another --output.")
    return sidecar_of(target, options)


def sidecar_of(target: Path, options: ExportOptions) -> Path | None:
    """Return the checked path of the contract beside a file; None where none is wanted.

    Raises:
        DestinationError: It cannot be written, or already exists.
    """
    if not options.sidecar:
        return None
    sidecar = target.with_name(f"{target.name.removesuffix('.onnx').removesuffix('.dtmodel')}.json")
    check_destination(sidecar, (".json",), "--output", options.overwrite)
    return sidecar


def _is_model(folder: Path) -> bool:
    """Tell whether a folder is a model of a Triton repository, rather than a folder of models."""
    return (folder / "config.pbtxt").is_file()
