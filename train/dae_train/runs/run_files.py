"""The run directory: created, described, and read to resume."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from dae_runtime import __version__
from dae_runtime.contract import RunDirectory, read_description
from dae_runtime.system.atomic import TEMPORARY_PREFIX, write_atomic
from dae_runtime.system.locks import lock
from dae_runtime.system.paths import is_folder

from ..errors import RunError
from ..settings.config import RECORDS, RunConfig, from_mapping, to_toml
from ..settings.flags import with_epochs

PACKAGES = ("keras", "tensorflow", "jax", "jaxlib", "numpy", "matplotlib", "pyvips")


def check_output(output: Path, overwrite: bool) -> None:
    """Check that a new run may be written.

    Args:
        output: Its folder; may exist if it is empty.
        overwrite: Whether an existing run may be deleted.

    Raises:
        RunError: There are files of a run that may not be deleted, or other files, or nothing can be written.
    """
    run = RunDirectory(output)
    there = next(path for path in (output, *output.parents) if os.path.lexists(path))
    if there != output and not is_folder(there):
        raise RunError(f"the run directory {output} cannot be created: {there} is no folder. Choose another --output.")
    if is_folder(there) and not os.access(there, os.W_OK | os.X_OK):
        raise RunError(
            f"the run directory {output} cannot be written: no permission to write to {there}, or a read-only disk. "
            "Choose another --output."
        )
    if not os.path.lexists(output) or (is_folder(output) and not any(map(_is_finished, output.iterdir()))):
        return
    if not run.description.is_file():
        raise RunError(f"{output} exists and is not a run directory. Choose another --output.")
    if not overwrite:
        raise RunError(
            f"{output} already contains a run. Continue it with --resume, replace it with --overwrite, "
            "or choose another --output."
        )


def claim(output: Path, overwrite: bool) -> RunDirectory:
    """Create the folder of a new run and delete an existing run if allowed; see `check_output`.

    Raises:
        RunError: As `check_output`, or the folder cannot be created.
    """
    check_output(output, overwrite)
    run = RunDirectory(output)
    try:
        _clear(run)
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"the run directory {output} cannot be created: {error}.") from error
    return run


@contextlib.contextmanager
def locked(output: Path) -> Iterator[None]:
    """Keep other trainings from writing to a run directory, which is created if it is missing.

    Raises:
        RunError: Another training writes to it, or it cannot be created.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(output, os.O_RDONLY)
    except OSError as error:
        raise RunError(f"the run directory {output} cannot be created: {error}.") from error
    try:
        if not lock(descriptor, alone=True):
            raise RunError(f"another training is writing to {output}. Wait for its end, or choose another --output.")
        yield
    finally:
        os.close(descriptor)


def _clear(run: RunDirectory) -> None:
    remove_unfinished(run)
    for path in (run.best_model, run.last_model, run.result, run.history, run.curves, run.samples, run.latent):
        path.unlink(missing_ok=True)
    run.calibration.unlink(missing_ok=True)
    shutil.rmtree(run.tensorboard, ignore_errors=True)
    run.description.unlink(missing_ok=True)  # last: it identifies a run directory


def _is_finished(path: Path) -> bool:
    return not path.name.startswith(TEMPORARY_PREFIX)


def remove_unfinished(run: RunDirectory) -> None:
    """Delete temporary files of a killed command."""
    if run.root.is_dir():
        for path in run.root.glob(f"{TEMPORARY_PREFIX}*"):
            path.unlink(missing_ok=True)


def write_description(run: RunDirectory, config: RunConfig, command: str, record: Mapping[str, Any]) -> None:
    """Write `run.toml`.

    Args:
        run: The run directory.
        config: The settings, all filled in.
        command: The command that repeats the run.
        record: Further facts about the run, for people.
    """
    records = {"command": command, "versions": versions(), "record": dict(record)}
    write_atomic(run.description, to_toml(config, records).encode())


def rewrite_description(run: RunDirectory, config: RunConfig) -> None:
    """Write a new number of epochs into an existing `run.toml`; other records stay."""
    records = {name: value for name, value in read_description(run).items() if name in RECORDS}
    if records.get("command"):
        records["command"] = with_epochs(records["command"], config.training.epochs)
    write_atomic(run.description, to_toml(config, records).encode())


def read_config(run: RunDirectory) -> RunConfig:
    """Return the settings of a run.

    Raises:
        RunError: There is no run, or its description is damaged.
        ConfigError: The description has unknown or invalid settings.
    """
    if not run.description.is_file():
        raise RunError(f"nothing to resume: {run.root} has no {run.description.name}. Give the folder of a run with --output.")
    return from_mapping(read_description(run), str(run.description))


def versions() -> dict[str, str]:
    """Return the versions of Python, this toolkit and the packages that training uses."""
    found = {"python": sys.version.split()[0], "dae-toolkit": __version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
