"""Noise specifications: texts such as `gaussian:0.02-0.2+jpeg:50`.

    SPEC     = RECIPE { " or " RECIPE }     one of them for each image, all as often
    RECIPE   = NOISE { "+" NOISE }          applied in this order
    NOISE    = KIND [ ":" AMOUNT { "," AMOUNT } ]
    AMOUNT   = NUMBER | NUMBER "-" NUMBER   a range is drawn from uniformly, once per image
    NUMBER   = 0.1 | 1e-3 | 25/255

`none` stands for no noise. Training also takes `fit:FOLDER` and replaces it with the noise measured there, that of a
sensor or, where neighbors share it, that of `camera`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

from ..errors import InputError

_DECIMAL = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_NUMBER = rf"{_DECIMAL}(?:/{_DECIMAL})?"
_AMOUNT = re.compile(rf"({_NUMBER})(?:-({_NUMBER}))?")
_JOIN = re.compile(r"(?<![\d.][eE])\+")  # not the plus of 1e+3
_OR = re.compile(r"\s+or\s+")

NO_NOISE = "none"


@dataclass(frozen=True)
class NoiseAmount:
    """A fixed number, or a range drawn from uniformly for each image."""

    low: float
    high: float

    @property
    def fixed(self) -> bool:
        """Whether the range is a single number."""
        return self.low == self.high


@dataclass(frozen=True)
class NoiseParameter:
    """A parameter of a kind of noise."""

    name: str
    """Name in messages."""
    low: float
    """Smallest value allowed."""
    high: float
    """Largest value allowed."""
    low_allowed: bool = True
    """Whether `low` itself is allowed."""
    default: NoiseAmount | None = None
    """Amount if left out; None: required. After a parameter with a default all have one."""

    def allows(self, value: float) -> bool:
        """Tell whether a value is allowed."""
        return (value >= self.low if self.low_allowed else value > self.low) and value <= self.high

    @property
    def bounds(self) -> str:
        """The allowed values as text."""
        return f"{'from' if self.low_allowed else 'above'} {self.low:g} up to {self.high:g}"


_BIG = 1e6

NOISE_KINDS: dict[str, tuple[NoiseParameter, ...]] = {
    "gaussian": (NoiseParameter("S", 0, _BIG),),
    "poisson": (NoiseParameter("PEAK", 0, _BIG, low_allowed=False),),
    "poisson-gaussian": (NoiseParameter("GAIN", 0, _BIG, low_allowed=False), NoiseParameter("SIGMA", 0, _BIG)),
    "salt-pepper": (NoiseParameter("P", 0, 1),),
    "speckle": (NoiseParameter("S", 0, _BIG),),
    "jpeg": (NoiseParameter("QUALITY", 1, 100),),
    "camera": (
        NoiseParameter("ISO", 50, 409_600, default=NoiseAmount(400, 12_800)),
        NoiseParameter("BLUR", 0, 2, default=NoiseAmount(0.3, 1.2)),
        NoiseParameter("COLOR", 0, 4, default=NoiseAmount(0.3, 1)),
    ),
}
"""Parameters by kind of noise; `dae_train.noise` has a function per kind."""


@dataclass(frozen=True)
class NoiseStep:
    """One kind of noise with its amounts, in the order of `NOISE_KINDS[kind]`."""

    kind: str
    amounts: tuple[NoiseAmount, ...]


NoiseRecipe: TypeAlias = tuple[NoiseStep, ...]
"""In order of application."""


@dataclass(frozen=True)
class NoiseSpec:
    """A parsed noise specification; `str` returns its text."""

    text: str
    """The original text."""
    recipes: tuple[NoiseRecipe, ...]
    """One of them makes the noise of an image; for `none` one without steps."""

    def __str__(self) -> str:
        return self.text


def parse_noise(text: str) -> NoiseSpec:
    """Parse a noise specification; the module docstring has the grammar.

    Raises:
        InputError: The text is not a noise specification; the message shows the valid forms.
    """
    bare = text.strip()
    return NoiseSpec(text, ((),) if bare == NO_NOISE else tuple(_parse_recipe(recipe, text) for recipe in _OR.split(bare)))


def gaussian_range(text: str) -> tuple[float, float] | None:
    """Return the smallest and largest standard deviation of a noise specification.

    Args:
        text: A contract's `noise`, such as `gaussian:0.1`, `gaussian:0.02-0.2` or `gaussian:15/255-50/255`.

    Returns:
        On the scale where white is 1; None if the noise is not purely Gaussian or the text is invalid.
    """
    try:
        recipes = parse_noise(text).recipes
    except InputError:
        return None
    if [[step.kind for step in recipe] for recipe in recipes] != [["gaussian"]]:
        return None
    (amount,) = recipes[0][0].amounts
    return amount.low, amount.high


def parse_range(text: str, spec: str) -> tuple[float, float] | None:
    """Parse `NUMBER-NUMBER` in any order; return None for other texts.

    Args:
        text: The range.
        spec: The whole specification, for messages.

    Raises:
        InputError: A fraction divides by zero.
    """
    match = _AMOUNT.fullmatch(text)
    return None if match is None or match[2] is None else (_number(match[1], spec), _number(match[2], spec))


def noise_forms() -> str:
    """Return the forms of all kinds of noise, for messages and help texts."""
    return ", ".join([*(_form(kind) for kind in NOISE_KINDS), "fit:FOLDER", NO_NOISE])


def _form(kind: str) -> str:
    needed = [parameter.name for parameter in NOISE_KINDS[kind] if parameter.default is None]
    optional = [parameter.name for parameter in NOISE_KINDS[kind] if parameter.default is not None]
    text = f"{kind}:{','.join(needed)}" if needed else kind
    for number, name in enumerate(optional, len(needed)):
        text += f"[{',' if number else ':'}{name}"
    return text + "]" * len(optional)


def _parse_recipe(recipe: str, spec: str) -> NoiseRecipe:
    return tuple(_parse_step(part.strip(), spec) for part in _JOIN.split(recipe))


def _parse_step(part: str, spec: str) -> NoiseStep:
    kind, _, rest = part.partition(":")
    parameters = NOISE_KINDS.get(kind)
    if parameters is None:
        raise InputError(f"noise {spec!r}: {kind!r} is not a kind of noise. Use one of: {noise_forms()}.")
    texts = [text.strip() for text in rest.split(",")] if rest else []
    defaults = [parameter.default for parameter in parameters[len(texts) :]]
    if len(texts) > len(parameters) or None in defaults:
        raise InputError(f"noise {spec!r}: expected {_form(kind)}, received {part!r}.")
    given = [_parse_amount(text, parameter, spec) for text, parameter in zip(texts, parameters, strict=False)]
    return NoiseStep(kind, (*given, *(amount for amount in defaults if amount is not None)))


def _parse_amount(text: str, parameter: NoiseParameter, spec: str) -> NoiseAmount:
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise InputError(
            f"noise {spec!r}: {parameter.name} must be a number (0.1 or 25/255) or a range (0.02-0.2), received {text!r}."
        )
    low = _number(match[1], spec)
    high = low if match[2] is None else _number(match[2], spec)
    for value in (low, high):
        if not parameter.allows(value):
            raise InputError(f"noise {spec!r}: {parameter.name} must be {parameter.bounds}, received {value:g}.")
    if low > high:
        raise InputError(f"noise {spec!r}: the range {text!r} runs backwards. Write {match[2]}-{match[1]}.")
    return NoiseAmount(low, high)


def _number(text: str, spec: str) -> float:
    numerator, _, denominator = text.partition("/")
    if denominator and float(denominator) == 0:
        raise InputError(f"noise {spec!r}: {text!r} divides by zero.")
    return float(numerator) / (float(denominator) if denominator else 1.0)
