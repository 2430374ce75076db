"""The Muon optimizer for convolutions."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="dae_train")
class ConvolutionMuon(keras.optimizers.Muon):  # type: ignore[misc]
    """Muon for convolutions: orthogonalizes the momentum of a kernel, reshaped to a matrix from taps to filters.

    Plain Muon kills ReLU units in long runs: a rarely active filter has a small momentum, which orthogonalization scales up
    to that of all others, so the filter drifts until it is never active. Here the steps of such filters are damped, the
    momentum is lower, kernels decay, and a gradient is clipped to the length of the momentum. Damping ramps up over the first
    few hundred steps.

    Small denoisers need a quarter of the steps of Adam (docs/decisions/0005-edge-networks.md). Kernels with a single input or
    output channel, and biases, use Adam, biases with a lower rate after the start.

    Source:
        Jordan et al.: Muon: an optimizer for hidden layers in neural networks, 2024. The scale of the steps is that of Liu et
        al.: Muon is scalable for LLM training, 2025, so that learning rates are comparable to those of Adam.
    """

    def __init__(self, learning_rate: Any = 0.003, plain: bool = False, **settings: Any) -> None:
        """Create an optimizer with half the rate for Adam, and weight decay for kernels only.

        Args:
            learning_rate: A number or a schedule.
            plain: Disable the protection of units: faster for short runs and networks that lose none.
            settings: Arguments of `keras.optimizers.Muon`.
        """
        ours = {"weight_decay": None, "momentum": 0.95} if plain else {"weight_decay": 0.1, "momentum": 0.9}
        super().__init__(learning_rate, **{**ours, "adam_weight_decay": None, "adam_lr_ratio": 0.5, **settings})
        self.plain = plain

    def _should_use_adamw(self, variable: Any) -> bool:
        return len(variable.shape) != 4 or min(variable.shape[-2:]) < 2

    def _muon_update_step(self, gradient: Any, variable: Any, lr: Any, m: Any) -> None:
        if not self.plain:
            longest = _length(m)
            share = ops.where(longest > 0, ops.minimum(longest / (_length(gradient) + _TINY), 1), 1)
            gradient = gradient * share
        super()._muon_update_step(gradient, variable, lr, m)

    def _adamw_update_step(self, gradient: Any, variable: Any, learning_rate: Any, m: Any, v: Any) -> None:
        if len(variable.shape) == 1:
            learning_rate = learning_rate * (1 - (1 - _BIAS_RATE) * self._ramp())
        super()._adamw_update_step(gradient, variable, learning_rate, m, v)

    def zeropower_via_newtonschulz5(self, x: Any, steps: int) -> Any:
        """Orthogonalize a kernel as a matrix, with rarely active filters damped."""
        kernel = _as_matrix(x)
        length = _length(kernel, axis=0)
        damping = length / (length + _DAMPING * self._ramp() * ops.mean(length) + _TINY)
        return ops.reshape(damping * super().zeropower_via_newtonschulz5(kernel, steps), x.shape)

    def get_config(self) -> dict[str, Any]:
        """Return the Keras configuration."""
        return {**super().get_config(), "plain": self.plain}

    def _ramp(self) -> Any:
        """Return the strength of the protection, rising from 0 to 1: no units die in the first steps."""
        if self.plain:
            return 0.0
        steps = ops.cast(self.iterations, "float32")
        return steps / (steps + _RAMP_STEPS)

    def lr_adjust(self, x: Any) -> Any:
        """Scale a step by the size of the kernel as a matrix."""
        return ops.reshape(super().lr_adjust(_as_matrix(x)), x.shape)


_DAMPING = 0.3
"""Momentum length of a filter, relative to the mean, at which its step is halved."""
_BIAS_RATE = 0.2
"""Learning rate of biases relative to other weights that use Adam."""
_RAMP_STEPS = 300
"""Steps to half of the full damping, and half of the reduction of the bias rate."""
_TINY = 1e-12


def _as_matrix(kernel: Any) -> Any:
    return ops.reshape(kernel, (-1, kernel.shape[-1]))


def _length(values: Any, axis: int | None = None) -> Any:
    return ops.sqrt(ops.sum(ops.square(values), axis=axis))
