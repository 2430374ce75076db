"""The noise of a run: what `dae_runtime.contract.parse_noise` reads, a wish to measure it, or a function of the program.

No framework is imported here, so that a command can refuse a bad text at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from dae_runtime.contract import NoiseSpec, NoiseStep, parse_noise, parse_range
from dae_runtime.errors import InputError

from ..errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

CustomNoise: TypeAlias = "Callable[[npt.NDArray[np.float32], int], npt.ArrayLike]"
"""Takes a batch of images, float32 (N, H, W, C) in [0, 1], and a seed; returns the noisy batch, of the same shape."""
FIT = "fit"
CUSTOM_NOISE = "custom"
"""Stands for a function of the program that trains; see `dae_train.train`."""
VALIDATION_SEED, TEST_SEED = 1_000_003, 1_000_033
"""Of the noise that networks are judged by: the same in all runs, so that their figures can be compared."""


@dataclass(frozen=True)
class FitRequest:
    """A request to measure the noise of a folder; `str` returns its text."""

    text: str
    """As it was written."""
    folder: str
    low: float
    """Smallest factor of the standard deviation."""
    high: float

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class NoiseSettings:
    """The noise that the network learns to remove."""

    spec: str | NoiseSpec | FitRequest | None = None
    """A noise specification, read when the settings are made; `str` returns its text. None: `DEFAULT_NOISE` of the data,
    `none` when those are noisy already. A request to measure the noise of a folder is replaced by what was measured before
    anything is written. `custom` stands for a function that is given to `train`."""
    clip: bool = True
    """Whether noisy values are clipped to [0, 1]."""
    once: bool = False
    """Draw the noise once and use it again in every epoch, instead of afresh for each batch."""

    def __post_init__(self) -> None:
        if isinstance(self.spec, str):
            object.__setattr__(self, "spec", _parse(self.spec))

    @property
    def none(self) -> bool:
        """Whether it was said that nothing is to be added."""
        return isinstance(self.spec, NoiseSpec) and not self.spec.steps and not self.custom

    @property
    def custom(self) -> bool:
        """Whether the noise is a function of the program that trains."""
        return str(self.spec) == CUSTOM_NOISE

    @property
    def steps(self) -> tuple[NoiseStep, ...]:
        """What is added, of settings in which everything is filled in; nothing where a function of the program adds it."""
        assert isinstance(self.spec, NoiseSpec)  # the preparation fills defaults in and measures
        return self.spec.steps


def _parse(text: str) -> NoiseSpec | FitRequest:
    try:
        if text.strip() == CUSTOM_NOISE:
            return NoiseSpec(CUSTOM_NOISE, ())
        return _parse_fit(text) or parse_noise(text)
    except InputError as error:
        raise ConfigError(str(error)) from error


def _parse_fit(text: str) -> FitRequest | None:
    """Read `fit:FOLDER` or `fit:LOW-HIGH:FOLDER`; return None for anything else."""
    bare = text.strip()
    kind, _, rest = bare.partition(":")
    if kind != FIT or bare == FIT:
        return None
    if not rest:
        raise ConfigError(f"noise {text!r}: expected fit:FOLDER or fit:LOW-HIGH:FOLDER, as fit:0.7-1.4:shots.")
    factors, _, folder = rest.partition(":")
    found = parse_range(factors, text) if folder else None
    if found is None:
        return FitRequest(bare, rest, 1.0, 1.0)
    low, high = found
    if not 0 < low <= high:
        raise ConfigError(
            f"noise {text!r}: the factors must be above 0, the smaller one first; received {low:g} and {high:g}."
        )
    return FitRequest(bare, folder, low, high)
