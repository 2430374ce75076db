"""The regression of `level`: coefficients that `python -m dae_tools.fit_level` makes from synthetic noise on photographs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .arrays import Float64

LEAST_LEVEL = 2.5
"""On the scale of 0 to 255. Weaker noise is not told from texture: the regression learns this level for it, which takes little
from a clean image (45 dB in the median), and in return does not read noise of 3 to 6 too low."""


@dataclass(frozen=True)
class Model:
    """A polynomial of second degree."""

    constant: float
    linear: tuple[float, ...]
    quadratic: tuple[float, ...]
    """Of the products of two features, as `pairs` orders them."""

    def log_level(self, features: Float64) -> float:
        """Return the logarithm of the level on the scale of 0 to 255."""
        return float(self.constant + np.dot(self.linear, features) + np.dot(self.quadratic, pairs(features)))


def pairs(features: Float64) -> Float64:
    """Return the products of each feature with itself and those after it."""
    first, second = np.triu_indices(len(features))
    products: Float64 = features[first] * features[second]
    return products


MODEL = Model(
    constant=1.064720,
    linear=(
        0.385619,
        0.061032,
        0.148958,
        -0.169656,
        -0.334976,
        -0.184050,
        0.006598,
    ),
    quadratic=(
        0.104127,
        -0.150292,
        -0.029635,
        -0.546975,
        -0.229405,
        -0.268918,
        0.082029,
        0.051976,
        -0.069325,
        0.079579,
        -0.157270,
        0.022971,
        -0.001592,
        -0.929965,
        0.571619,
        -0.911378,
        -0.159674,
        0.024508,
        -0.227874,
        0.331295,
        0.114661,
        0.348115,
        0.194148,
        -0.077736,
        -0.086927,
        -0.084320,
        -0.000867,
        0.085913,
    ),
)
