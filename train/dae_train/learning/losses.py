"""Training losses: functions of the clean and the denoised batch, both (N, H, W, C) in [0, 1]; and what an image weighs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from keras import losses, ops

from ..settings.training import BY_LEVEL, MSE

CHARBONNIER_EPSILON = 1e-3

Loss = Callable[[Any, Any], Any]


def charbonnier(clean: Any, denoised: Any) -> Any:
    """Return sqrt(d^2 + 1e-6) of the differences d, averaged over channels, (N, H, W): an L1 that is smooth at zero.

    Source:
        Charbonnier, Blanc-Feraud, Aubert, Barlaud: Two deterministic half-quadratic regularization algorithms for computed
        imaging. ICIP 1994.
    """
    return ops.mean(ops.sqrt(ops.square(denoised - clean) + CHARBONNIER_EPSILON**2), axis=-1)


LOSS_FUNCTIONS: Mapping[str, Loss] = {
    "bce": losses.binary_crossentropy,
    MSE: losses.mean_squared_error,
    "l1": losses.mean_absolute_error,
    "charbonnier": charbonnier,
    BY_LEVEL: losses.mean_squared_error,
}
"""The losses by the names of `settings.training.LOSSES`."""


def loss_named(name: str | None) -> Loss:
    """Return a loss by its name; None: the mean squared error, as for networks without other settings."""
    return LOSS_FUNCTIONS[name or MSE]


USUAL_ERROR, USUAL_LEVEL, GROWTH = 4.07e-4, 15 / 255, 1.13
"""Mean squared error that a small network leaves of white noise of this level on photographs, and its exponent of growth."""
LEAST_LEVEL = 2 / 255
"""Lower levels have the weight of this one: 8-bit images round their errors away."""


def weight(level: Any) -> Any:
    """Return the weight of an image of a noise level in the loss `mse-by-level`, in which all levels count alike.

    Without it the images of the highest levels would dominate the loss. It is 1 over the error that is usual at the level.

    Args:
        level: Standard deviations, on the scale where white is 1.
    """
    return 1 / (USUAL_ERROR * (ops.maximum(level, LEAST_LEVEL) / USUAL_LEVEL) ** GROWTH)
