"""Noise specifications: text such as `gaussian:0.02-0.2+jpeg:50` and what it means.

    SPEC     = NOISE { "+" NOISE }          applied in this order
    NOISE    = KIND ":" AMOUNT { "," AMOUNT }
    AMOUNT   = NUMBER | NUMBER "-" NUMBER   a range is drawn from uniformly, once per image
    NUMBER   = 0.1 | 1e-3 | 25/255

`none` stands for no noise. `fit:FOLDER` stands for the noise that is measured in a folder of images before training (see
`noise_fit`), and `fit:0.7-1.4:FOLDER` for a range of strengths around it. No framework is imported here, so that a command can
refuse a bad text at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import ConfigError

_DECIMAL = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_NUMBER = rf"{_DECIMAL}(?:/{_DECIMAL})?"
_AMOUNT = re.compile(rf"({_NUMBER})(?:-({_NUMBER}))?")
_FIT = re.compile(rf"fit:(?:({_NUMBER})-({_NUMBER}):)?(.+)")
_JOIN = re.compile(r"(?<![\d.][eE])\+")  # the plus of 1e+3 joins nothing

NO_NOISE = "none"
FIT = "fit"


@dataclass(frozen=True)
class Parameter:
    """One number that a kind of noise takes."""

    name: str
    """As in messages."""
    low: float
    """Smallest value allowed."""
    high: float
    """Largest value allowed."""
    low_allowed: bool = True
    """Whether `low` itself is allowed."""

    def allows(self, value: float) -> bool:
        """Say whether a value may be used."""
        return (value >= self.low if self.low_allowed else value > self.low) and value <= self.high

    @property
    def bounds(self) -> str:
        """The allowed values, in words."""
        return f"{'from' if self.low_allowed else 'above'} {self.low:g} up to {self.high:g}"


_BIG = 1e6

KINDS: Mapping[str, tuple[Parameter, ...]] = {
    "gaussian": (Parameter("S", 0, _BIG),),
    "poisson": (Parameter("PEAK", 0, _BIG, low_allowed=False),),
    "poisson-gaussian": (Parameter("GAIN", 0, _BIG, low_allowed=False), Parameter("SIGMA", 0, _BIG)),
    "salt-pepper": (Parameter("P", 0, 1),),
    "speckle": (Parameter("S", 0, _BIG),),
    "jpeg": (Parameter("QUALITY", 1, 100),),
}
"""The kinds of noise by name, with the parameters of each."""


@dataclass(frozen=True)
class Amount:
    """A fixed number, or a range that is drawn from uniformly for each image."""

    low: float
    high: float

    @property
    def fixed(self) -> bool:
        """Whether the range is a single number."""
        return self.low == self.high


@dataclass(frozen=True)
class NoiseStep:
    """One kind of noise with its amounts, in the order of `KINDS[kind]`."""

    kind: str
    amounts: tuple[Amount, ...]


def parse_noise(spec: str) -> tuple[NoiseStep, ...]:
    """Read a noise specification.

    Args:
        spec: Text as in the head of this module.

    Returns:
        The steps in the order in which they are applied; none for `none`.

    Raises:
        ConfigError: The text is no noise specification; the message shows the forms that are.
    """
    text = spec.strip()
    if text == NO_NOISE:
        return ()
    return tuple(_parse_step(part.strip(), spec) for part in _JOIN.split(text))


def _parse_step(part: str, spec: str) -> NoiseStep:
    kind, _, rest = part.partition(":")
    parameters = KINDS.get(kind)
    if parameters is None:
        raise ConfigError(f"noise {spec!r}: {kind!r} is no kind of noise. Use one of: {forms()}.")
    texts = [text.strip() for text in rest.split(",")] if rest else []
    if len(texts) != len(parameters):
        raise ConfigError(f"noise {spec!r}: expected {_form(kind)}, received {part!r}.")
    amounts = tuple(_parse_amount(text, parameter, spec) for text, parameter in zip(texts, parameters, strict=True))
    return NoiseStep(kind, amounts)


def _parse_amount(text: str, parameter: Parameter, spec: str) -> Amount:
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"noise {spec!r}: {parameter.name} must be a number (0.1 or 25/255) or a range (0.02-0.2), received {text!r}."
        )
    low = _number(match[1], spec)
    high = low if match[2] is None else _number(match[2], spec)
    for value in (low, high):
        if not parameter.allows(value):
            raise ConfigError(f"noise {spec!r}: {parameter.name} must be {parameter.bounds}, received {value:g}.")
    if low > high:
        raise ConfigError(f"noise {spec!r}: the range {text!r} runs backwards. Write {match[2]}-{match[1]}.")
    return Amount(low, high)


def _number(text: str, spec: str) -> float:
    numerator, _, denominator = text.partition("/")
    if denominator and float(denominator) == 0:
        raise ConfigError(f"noise {spec!r}: {text!r} divides by zero.")
    return float(numerator) / (float(denominator) if denominator else 1.0)


@dataclass(frozen=True)
class FitRequest:
    """The wish to have noise measured."""

    text: str
    """As it was written."""
    folder: str
    low: float
    """Smallest factor of the standard deviation."""
    high: float


def parse_fit(spec: str) -> FitRequest | None:
    """Read `fit:FOLDER` or `fit:LOW-HIGH:FOLDER`; return None for anything else.

    Raises:
        ConfigError: The folder is missing, or the factors are impossible.
    """
    text = spec.strip()
    if not text.startswith(f"{FIT}:"):
        return None
    match = _FIT.fullmatch(text)
    if match is None:
        raise ConfigError(f"noise {spec!r}: expected fit:FOLDER or fit:LOW-HIGH:FOLDER, as fit:0.7-1.4:shots.")
    low, high = (1.0, 1.0) if match[1] is None else (_number(match[1], spec), _number(match[2], spec))
    if not 0 < low <= high:
        raise ConfigError(
            f"noise {spec!r}: the factors must be above 0, the smaller one first; received {low:g} and {high:g}."
        )
    return FitRequest(text, match[3], low, high)


def forms() -> str:
    """Return the forms of all kinds of noise, for messages and help texts."""
    return ", ".join([*(_form(kind) for kind in KINDS), f"{FIT}:FOLDER", NO_NOISE])


def _form(kind: str) -> str:
    return f"{kind}:{','.join(parameter.name for parameter in KINDS[kind])}"
