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
    constant=1.114837,
    linear=(
        0.369327,
        0.086007,
        -0.144619,
        -0.378837,
        -0.234745,
        -0.212187,
        -0.134510,
    ),
    quadratic=(
        0.102683,
        -0.078903,
        -0.137664,
        -0.693337,
        -0.134633,
        -0.144413,
        0.036813,
        0.057165,
        0.058130,
        0.292581,
        -0.150335,
        0.038695,
        0.058764,
        -0.888860,
        0.033762,
        -0.324704,
        -0.117346,
        0.000852,
        0.647688,
        0.012539,
        0.206408,
        0.159979,
        0.116021,
        0.003348,
        0.016307,
        -0.000428,
        0.026064,
        0.066004,
    ),
)
