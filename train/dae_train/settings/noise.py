"""Noise settings: a specification, a request to estimate it, or a function of the calling program; without a framework."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from dae_runtime.contract import NoiseRecipe, NoiseSpec, parse_noise, parse_range
from dae_runtime.errors import InputError

from ..errors import ConfigError, check_fields

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

CustomNoise: TypeAlias = "Callable[[npt.NDArray[np.float32], int], npt.ArrayLike]"
"""Takes a batch of images, float32 (N, H, W, C) in [0, 1], and a seed; returns the noisy batch, of the same shape."""
FIT = "fit"
CUSTOM_NOISE = "custom"
"""Specification of a noise function of the calling program; see `dae_train.train`."""
VALIDATION_SEED, TEST_SEED = 1_000_003, 1_000_033
"""Seeds of validation and test noise: equal in all runs, so that metrics are comparable."""


@dataclass(frozen=True)
class FitRequest:
    """A request to estimate noise from a folder; `str` returns its text."""

    text: str
    """Original text."""
    folder: str
    low: float
    """Smallest factor for the standard deviation."""
    high: float

    def __str__(self) -> str:
        return self.text


WHITE_1 = {"gaussian": 4.0, "speckle": 4.0}
"""Largest standard deviation that makes sense, where white is 1."""


@dataclass(frozen=True)
class NoiseSettings:
    """The noise that the network learns to remove."""

    spec: str | NoiseSpec | FitRequest | None = None
    """A noise specification; text is parsed, and `str` returns it. None: `DEFAULT_NOISE` of the data, or `none` for noisy
    data. A `FitRequest` is replaced by its estimate before anything is written. `custom`: the function passed to `train`."""
    clip: bool = True
    """Whether noisy values are clipped to [0, 1]."""
    once: bool = False
    """Sample the noise once for all epochs, instead of for each batch."""

    def __post_init__(self) -> None:
        check_fields(self, "noise")
        if isinstance(self.spec, str):
            object.__setattr__(self, "spec", _parse(self.spec))

    @property
    def none(self) -> bool:
        """Whether the settings explicitly add no noise."""
        return isinstance(self.spec, NoiseSpec) and not any(self.spec.recipes) and not self.custom

    @property
    def custom(self) -> bool:
        """Whether the noise is a function of the calling program."""
        return str(self.spec) == CUSTOM_NOISE

    @property
    def recipes(self) -> tuple[NoiseRecipe, ...]:
        """Recipes of filled-in settings; one without steps for a function of the calling program."""
        assert isinstance(self.spec, NoiseSpec)  # `prepare` fills it in
        return self.spec.recipes


def _parse(text: str) -> NoiseSpec | FitRequest:
    try:
        if text.strip() == CUSTOM_NOISE:
            return NoiseSpec(CUSTOM_NOISE, ((),))
        return _parse_fit(text) or _checked(parse_noise(text))
    except InputError as error:
        raise ConfigError(str(error)) from error


def _checked(spec: NoiseSpec) -> NoiseSpec:
    """Refuse noise that was meant on the scale of 0 to 255."""
    for step in (step for recipe in spec.recipes for step in recipe if step.kind in WHITE_1):
        if step.amounts[0].high > WHITE_1[step.kind]:
            amount = f"{step.amounts[0].high:g}"
            raise ConfigError(
                f"noise.spec: the standard deviation {amount} of {step.kind} is {amount} times white, as white is 1. On the "
                f"scale of 0 to 255 write {amount}/255."
            )
    return spec


def _parse_fit(text: str) -> FitRequest | None:
    """Read `fit:FOLDER` or `fit:LOW-HIGH:FOLDER`; return None for anything else."""
    stripped = text.strip()
    kind, _, rest = stripped.partition(":")
    if kind != FIT or stripped == FIT:
        return None
    if not rest:
        raise ConfigError(f"noise {text!r}: expected fit:FOLDER or fit:LOW-HIGH:FOLDER, as fit:0.7-1.4:shots.")
    factors, _, folder = rest.partition(":")
    found = parse_range(factors, text) if folder else None
    if found is None:
        return FitRequest(stripped, rest, 1.0, 1.0)
    low, high = found
    if not 0 < low <= high:
        raise ConfigError(
            f"noise {text!r}: the factors must be above 0, the smaller one first; received {low:g} and {high:g}."
        )
    return FitRequest(stripped, folder, low, high)
