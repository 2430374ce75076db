"""Keras' files of networks, checked before a framework reads them. Standard library only.

A `.keras` file is a zip archive. Its `config.json` describes the layers, which Keras makes before it looks at the weights.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import DaeError

_LARGEST_RATIO = 8
"""Of the content of a `.keras` file to its size, where somebody has compressed it."""
_MOST_CONFIG_BYTES = 2**24
_MOST_UNSTORED = 2**26
"""Weights that a network may have whatever its file holds: a quarter of a gigabyte, made in a second."""
_CHANNELS = ("filters", "units", "output_dim")
_FACTORS = (*_CHANNELS, "kernel_size", "depth_multiplier", "input_dim", "num_heads", "key_dim", "value_dim", "head_dim")
"""Settings of a layer whose product is the number of its weights for each channel of its input."""


def check_network_file(path: Path) -> None:
    """Check a `.keras` file before a framework reads it, which trusts the sizes that its archive and its layers promise.

    Raises:
        DaeError: It is no zip archive, takes far more memory than space on the disk, or describes a network of far more
            weights than it holds.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            promised, size = sum(entry.file_size for entry in archive.infolist()), path.stat().st_size
            if promised > max(_LARGEST_RATIO * size, 2**24):
                raise DaeError(
                    f"{path} has {size} bytes and promises {promised}; Keras stores without compression. Restore it, or train "
                    "again."
                )
            config = _config_in(archive)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or error
        raise DaeError(f"{path} is damaged or no .keras file: {reason}. Restore it, or train again.") from error
    weights = _weights_of(list(_layers_in(config)))
    if weights > max(_MOST_UNSTORED, 4 * promised):
        raise DaeError(
            f"{path} describes a network of {min(weights, 10**18):.2g} weights or more, and holds only {promised} bytes. "
            "Restore it, or train again."
        )


def _config_in(archive: zipfile.ZipFile) -> Any:
    """Return the description of the network; None where there is none that can be read, which Keras then says."""
    try:
        if archive.getinfo("config.json").file_size <= _MOST_CONFIG_BYTES:
            return json.loads(archive.read("config.json"))
    except (LookupError, ValueError, RecursionError, RuntimeError, NotImplementedError):
        pass
    return None


def _layers_in(config: Any) -> Iterator[tuple[Mapping[str, Any], Any]]:
    """Yield the settings of all layers, and the shapes that they are made for, if they are stated; also of nested ones."""
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if isinstance(value.get("config"), dict):
                yield value["config"], value.get("build_config")
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _weights_of(layers: list[tuple[Mapping[str, Any], Any]]) -> int:
    """Return about how many weights Keras makes for these layers; never far fewer than it does."""
    shapes = [_whole(settings.get(name)) for settings, _ in layers for name in ("batch_shape", "target_shape")]
    channels = [number for settings, _ in layers for name in _CHANNELS for number in _whole(settings.get(name))]
    widest = math.prod(max(numbers, default=1) for numbers in (channels, list(map(math.prod, shapes))))
    total = 0
    for settings, built_for in layers:
        factors = [number for name in _FACTORS for number in _whole(settings.get(name))]
        if factors:
            stated = [_whole(shape)[-1:] for shape in _shapes_in(built_for)]
            total += math.prod(factors) * max((numbers[0] for numbers in stated if numbers), default=widest)
    return total


def _shapes_in(built_for: Any) -> list[Any]:
    return [shape for shape in built_for.values() if isinstance(shape, list)] if isinstance(built_for, dict) else []


def _whole(value: Any) -> list[int]:
    """Return the whole numbers above 0 of a setting, one or a list."""
    numbers = value if isinstance(value, list) else [value]
    return [number for number in numbers if type(number) is int and number > 0]
