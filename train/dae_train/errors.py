"""The errors that training raises on purpose.

Each message says what failed, what was expected, what was received, and the remedy.

    DaeError
    └── TrainError          something about a training run
        ├── ConfigError     a setting is unknown, invalid, or conflicts with another
        ├── DataError       the images are missing or unreadable, or do not fit the network
        └── RunError        the run directory cannot be used
"""

from __future__ import annotations

from typing import Any

from dae_runtime.errors import DaeError
from dae_runtime.system.bounds import first_misfit, shown

MOST = {
    "batch_size": 2**16,
    "patch_px": 4096,
    "image_px": 4096,
    "z_dim": 2**16,
    "epochs": 10**6,
    "patience": 10**6,
    "filters": 4096,
    "encoder_filters": 4096,
    "decoder_filters": 4096,
    "encoder_kernels_px": 255,
    "decoder_kernels_px": 255,
    "encoder_strides": 16,
    "decoder_strides": 16,
    "encoder_blocks": 256,
    "decoder_blocks": 256,
}
"""Largest values of settings that are whole numbers: larger ones are mistakes, and would exhaust the machine."""
MOST_OTHERWISE = 2**31 - 1
MOST_LAYERS = 64


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
        raise ConfigError(f"{name} must be {expected}, not {shown(received)}.")


def check_fields(settings: Any, table: str) -> None:
    """Raise a ConfigError that names the first setting whose value is of the wrong type or too large."""
    if misfit := first_misfit(settings):
        name, expected, value = misfit
        check_setting(False, f"{table}.{name}", expected, value)
    for name, value in vars(settings).items():
        numbers = value if isinstance(value, tuple) else (value,) if isinstance(value, int) else ()
        most = MOST.get(name, MOST_OTHERWISE)
        check_setting(all(abs(number) <= most for number in numbers), f"{table}.{name}", f"at most {most}", value)
        check_setting(len(numbers) <= MOST_LAYERS, f"{table}.{name}", f"at most {MOST_LAYERS} numbers", len(numbers))
