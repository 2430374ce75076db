"""The regression of `level`: coefficients that `python -m dae_tools.fit_level` makes from synthetic noise on photographs."""

from __future__ import annotations

import functools
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


_triangle = functools.cache(np.triu_indices)


def pairs(features: Float64) -> Float64:
    """Return the products of each feature with itself and those after it."""
    first, second = _triangle(len(features))
    products: Float64 = features[first] * features[second]
    return products


MODEL = Model(
    constant=1.038870,
    linear=(
        0.363443,
        0.094979,
        -0.190962,
        -0.287337,
        -0.105351,
        -0.115952,
        -0.102278,
        -1.669971,
        -0.650559,
        -0.205262,
        -0.230963,
    ),
    quadratic=(
        0.103684,
        -0.067268,
        -0.248034,
        -0.447293,
        0.000950,
        -0.087599,
        0.033623,
        -1.894436,
        -0.413840,
        -0.128496,
        0.350511,
        -0.001216,
        -0.021333,
        0.231392,
        -0.070313,
        0.014160,
        0.035874,
        0.449123,
        0.369886,
        -1.120687,
        -0.259094,
        -0.908561,
        0.147681,
        -0.040784,
        -0.128465,
        -0.081917,
        -0.222572,
        0.501052,
        -2.395656,
        0.298305,
        0.379725,
        -0.161975,
        0.136753,
        0.162477,
        2.000052,
        0.303306,
        -0.584090,
        0.464816,
        0.056682,
        -0.010724,
        0.025183,
        0.386342,
        0.203547,
        0.318203,
        -0.181620,
        -0.010544,
        0.016224,
        0.174925,
        0.066328,
        -0.187773,
        -0.062076,
        0.038010,
        -0.290925,
        0.156134,
        -0.071339,
        0.040636,
        5.921051,
        3.141299,
        -2.741302,
        1.090169,
        1.580599,
        -0.808270,
        1.116362,
        0.080045,
        -2.049318,
        -0.034176,
    ),
)
