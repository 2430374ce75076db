"""Training losses: functions of the clean and the denoised batch, both (N, H, W, C) in [0, 1]."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from keras import losses, ops

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
    "mse": losses.mean_squared_error,
    "l1": losses.mean_absolute_error,
    "charbonnier": charbonnier,
}
"""The losses by the names of `settings.training.LOSSES`."""
