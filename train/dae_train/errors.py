"""The errors that training raises on purpose.

Each message says what failed, what was expected, what was received, and the remedy.

    DaeError
    └── TrainError          something about a training run
        ├── ConfigError     a setting is unknown, invalid, or conflicts with another
        ├── DataError       the images are missing or unreadable, or do not fit the network
        └── RunError        the run directory cannot be used
"""

from __future__ import annotations

from dae_runtime.errors import DaeError


class TrainError(DaeError):
    """Base class of the errors of training."""


class ConfigError(TrainError):
    """A setting is unknown, invalid, or conflicts with another."""


class DataError(TrainError):
    """The images are missing or unreadable, or do not fit the network."""


class RunError(TrainError):
    """The run directory cannot be used."""


def check_setting(condition: bool, name: str, expected: str, received: object) -> None:
    """Raise a ConfigError that names a setting, unless a condition holds."""
    if not condition:
        raise ConfigError(f"{name} must be {expected}, not {received!r}.")
