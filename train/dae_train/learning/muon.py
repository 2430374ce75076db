"""An optimizer whose steps have the same length in every direction of a kernel."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="dae_train")
class ConvolutionMuon(keras.optimizers.Muon):  # type: ignore[misc]
    """Muon for convolutions: the momentum of a kernel, seen as a matrix from taps to filters, is made orthogonal.

    Plain Muon makes ReLU units die by the hundred in long runs: a filter that few pixels reach has a small momentum, which
    orthogonalization makes as long as all others, so that it walks on in the direction of what it last saw until nothing
    reaches it any more. So the steps of such filters are shorter here, the momentum is shorter, kernels decay, and no batch
    counts for more than the momentum of all before it. That takes hold over the first few hundred steps, for a fast start.

    Small denoisers reach in a quarter of the steps what they reach with Adam (docs/decisions/0005-edge-networks.md). Kernels
    with a single input or output channel, and biases, are changed as by Adam, biases slowly after the start.

    Source:
        Jordan et al.: Muon: an optimizer for hidden layers in neural networks, 2024. The scale of the steps is that of Liu et
        al.: Muon is scalable for LLM training, 2025, so that rates mean about what they mean for Adam.
    """

    def __init__(self, learning_rate: Any = 0.003, plain: bool = False, **settings: Any) -> None:
        """Make an optimizer that is gentle where it is Adam, and lets only the kernels decay.

        Args:
            learning_rate: A number or a schedule.
            plain: Leave out all that keeps units alive: faster for short runs, and for networks that lose none.
            settings: As for Keras's Muon.
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
            learning_rate = learning_rate * (1 - (1 - _BIAS_RATE) * self._underway())
        super()._adamw_update_step(gradient, variable, learning_rate, m, v)

    def zeropower_via_newtonschulz5(self, x: Any, steps: int) -> Any:
        """Make a kernel orthogonal as a matrix, but for filters that hardly any pixel reaches."""
        kernel = _as_matrix(x)
        length = _length(kernel, axis=0)
        damping = length / (length + _DAMPING * self._underway() * ops.mean(length) + _TINY)
        return ops.reshape(damping * super().zeropower_via_newtonschulz5(kernel, steps), x.shape)

    def get_config(self) -> dict[str, Any]:
        """Return what makes an optimizer like this one."""
        return {**super().get_config(), "plain": self.plain}

    def _underway(self) -> Any:
        """Return how far the start is over, from 0 to 1: nothing dies in the first steps, which are to be fast."""
        if self.plain:
            return 0.0
        steps = ops.cast(self.iterations, "float32")
        return steps / (steps + _EARLY_STEPS)

    def lr_adjust(self, x: Any) -> Any:
        """Give a step the length that the size of the kernel as a matrix calls for."""
        return ops.reshape(super().lr_adjust(_as_matrix(x)), x.shape)


_DAMPING = 0.3
"""Length of a filter's momentum, relative to the mean one, at which its step is half as long as it would be."""
_BIAS_RATE = 0.2
"""Rate of biases relative to that of the kernels that Adam changes."""
_EARLY_STEPS = 300
"""Steps after which those two have come half of the way, damping from nothing and the rate of biases from 1."""
_TINY = 1e-12


def _as_matrix(kernel: Any) -> Any:
    return ops.reshape(kernel, (-1, kernel.shape[-1]))


def _length(values: Any, axis: int | None = None) -> Any:
    return ops.sqrt(ops.sum(ops.square(values), axis=axis))
