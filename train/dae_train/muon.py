"""An optimizer whose steps have the same length in every direction of a kernel."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="dae_train")
class ConvolutionMuon(keras.optimizers.Muon):  # type: ignore[misc]
    """Muon for convolutions: the momentum of a kernel, seen as a matrix from taps to filters, is made orthogonal.

    Small denoisers reach in a quarter of the steps what they reach with Adam (docs/decisions/0005-edge-networks.md). Kernels
    with a single input or output channel, and biases, are changed as by Adam.

    Source:
        Jordan et al.: Muon: an optimizer for hidden layers in neural networks, 2024. The scale of the steps is that of Liu et
        al.: Muon is scalable for LLM training, 2025, so that rates mean about what they mean for Adam.
    """

    def __init__(self, learning_rate: Any = 0.003, **settings: Any) -> None:
        """Make an optimizer without weight decay, which small networks have no need of, and gentle where it is Adam."""
        super().__init__(learning_rate, **{"weight_decay": None, "adam_weight_decay": 0.0, "adam_lr_ratio": 0.5, **settings})

    def _should_use_adamw(self, variable: Any) -> bool:
        return len(variable.shape) != 4 or min(variable.shape[-2:]) < 2

    def _muon_update_step(self, gradient: Any, variable: Any, lr: Any, m: Any) -> None:
        rate = ops.cast(lr, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        self.assign(m, self.momentum * m + gradient)
        ahead = gradient + self.momentum * m if self.nesterov else m
        taps, filters = math.prod(variable.shape[:-1]), variable.shape[-1]
        direction = self.zeropower_via_newtonschulz5(ops.reshape(ahead, (taps, filters)), self.ns_steps)
        length = self.rms_rate * math.sqrt(max(taps, filters))
        self.assign_sub(variable, ops.reshape(direction, variable.shape) * length * rate)
