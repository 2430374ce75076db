"""Files of trained networks: found by name, and described without a framework.

A `.keras` file is a zip archive whose `config.json` describes the network.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

from dae_runtime.contract import RunDirectory, read_description
from dae_runtime.errors import DaeError
from dae_runtime.system.paths import is_file, is_folder

from ..errors import ConfigError

BUNDLED = Path(__file__).parents[1] / "pretrained"
"""Folder of the bundled networks."""
UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    EOFError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)
"""Exceptions of Keras for a damaged `.keras` file."""
_MOST_CONFIG_BYTES = 2**24
"""Of `config.json`, which takes some kilobytes; a damaged archive may promise any size."""


def find_init(name: str) -> Path:
    """Return the `.keras` file of a trained network.

    Args:
        name: Name of a bundled network, or path of a `.keras` file, or of a run directory for its best model.

    Raises:
        ConfigError: It does not exist.
    """
    bundled = {path.stem: path for path in BUNDLED.glob("*.keras")}
    if name in bundled:
        return bundled[name]
    path = RunDirectory(Path(name)).best_model if is_folder(name) else Path(name)
    if path.suffix == ".keras" and is_file(path) and zipfile.is_zipfile(path):
        return path
    names = f", or one of {', '.join(sorted(bundled))}" if bundled else ""
    raise ConfigError(f"there is no trained network at {name!r}: expected a .keras file or a run directory with one{names}.")


def model_table(name: str) -> dict[str, Any]:
    """Return the `[model]` table of a trained network, without the number of channels.

    Args:
        name: As in `find_init`. Taken from `run.toml` of a run directory; any other file names its preset only, and shows
            whether the network is given the noise level.

    Raises:
        ConfigError: There is no such network, or its file is damaged.
    """
    path = find_init(name)
    run = RunDirectory(path.parent)
    if is_described(path):
        try:
            table = dict(read_description(run)["model"])
        except (DaeError, KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{run.description} does not describe a network ({error}). Give --preset.") from error
        return {key: value for key, value in table.items() if key != "channels"}
    description = _description(path)
    return {"preset": description["name"], **({"sigma": True} if len(_input_shapes(description)) > 1 else {})}


def channels_of(name: str, flag: str) -> int:
    """Return the number of channels of a trained network, 1 or 3.

    Raises:
        ConfigError: The network does not exist, or does not take images.
    """
    shapes = _input_shapes(_description(find_init(name)))
    shape = max(shapes, key=len, default=[])  # the other one, if there is one, is the noise level
    if len(shape) != 4 or shape[3] not in (1, 3):
        raise ConfigError(f"{flag} {name}: expected a network from images to images, received one for the shape {shape}.")
    return int(shape[3])


def check_channels(name: str, channels: int, flag: str) -> None:
    """Check the number of channels of a trained network.

    Raises:
        ConfigError: It differs, or the file is damaged.
    """
    found = channels_of(name, flag)
    if found != channels:
        raise ConfigError(
            f"{flag} {name}: that network is for {_colors(found)}, this run is for {_colors(channels)}. "
            f"Give --channels {found}, or a network for {_colors(channels)}."
        )


def file_digest(name: str, expected: str | None, flag: str) -> str:
    """Return the SHA-256 of the file of a trained network, in hexadecimal.

    Raises:
        ConfigError: The network does not exist, or does not match `expected`.
    """
    path = find_init(name)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if expected not in (None, found):
        raise ConfigError(
            f"{flag} {name}: {path} differs from the file of the run: expected SHA-256 {expected}, found {found}. "
            "Restore the file, or start a new run."
        )
    return found


def is_described(path: Path) -> bool:
    """Return whether a `.keras` file belongs to the run directory that contains it."""
    run = RunDirectory(path.parent)
    return path in (run.best_model, run.last_model) and is_file(run.description)


def _description(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            size = archive.getinfo("config.json").file_size
            if size > _MOST_CONFIG_BYTES:
                raise ValueError(f"its config.json has {size} bytes")
            config = json.loads(archive.read("config.json"))["config"]
        return {"name": str(config["name"]), "layers": list(config["layers"])}
    except UNREADABLE as error:
        raise ConfigError(f"{path} is not a .keras file of a functional network ({error!r}).") from error


def _input_shapes(description: dict[str, Any]) -> list[list[int | None]]:
    return [layer["config"]["batch_shape"] for layer in description["layers"] if layer["class_name"] == "InputLayer"]


def _colors(channels: int) -> str:
    return "gray images (1 channel)" if channels == 1 else "color images (3 channels)"
