"""Weights of trained networks: loaded, or copied into another network."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from dae_runtime.contract import check_network_file

from ..errors import ConfigError
from ..settings.trained_file import find_init, is_described
from .leveling import can_take_level, take_level
from .widening import can_widen, widen

_LOG = logging.getLogger("dae_train")


def load_trained(name: str, flag: str) -> Any:
    """Load a trained network as a `keras.Model`, not compiled; imports the framework.

    Raises:
        ConfigError: The file cannot be loaded.
    """
    import keras

    path = find_init(name)
    try:
        check_network_file(path)
        return keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras and TensorFlow raise many types
        raise ConfigError(f"{flag} {name}: {path} cannot be loaded ({error}). Restore the file, or name another.") from error


def start_from(name: str, network: Any) -> None:
    """Copy the weights of a trained network into one of the same structure, or a wider one (see `widening`), or one of the
    same layers that is also given the noise level (see `take_level`).

    Args:
        name: As `find_init` takes it.
        network: A `keras.Model`; changed in place.

    Raises:
        ConfigError: The file cannot be loaded, or holds a network of another structure.
    """
    trained = load_trained(name, "--init")
    received, expected = _shapes(trained), _shapes(network)
    if received == expected:
        network.set_weights(trained.get_weights())
    elif can_widen(trained, network):
        _LOG.info("widening %s into %s", name, network.name)
        widen(trained, network)
    elif can_take_level(trained, network):
        _LOG.info("starting a network that is given the noise level from %s", name)
        take_level(trained, network)
    else:
        raise ConfigError(
            f"--init {name}: the network ({trained.name}) has other weights than the preset {network.name}: "
            f"{_difference(received, expected)}. {_remedy(find_init(name), trained.name == network.name)}"
        )


def _remedy(path: Path, same_preset: bool) -> str:
    if same_preset and not is_described(path):
        return (
            "Outside its run directory, without run.toml, a file names its preset only, and this network differs from the "
            "preset: give the run directory, or the settings of its network with --config."
        )
    return "Omit --preset and other network settings, or use those of the file."


def _shapes(model: Any) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in model.weights]


def _difference(received: list[tuple[int, ...]], expected: list[tuple[int, ...]]) -> str:
    if len(received) != len(expected):
        return f"{len(received)} arrays instead of {len(expected)}"
    number = next(i for i, pair in enumerate(zip(received, expected, strict=True)) if pair[0] != pair[1])
    return f"array {number} has the shape {received[number]} instead of {expected[number]}"
