"""An optimizer whose steps have the same length in every direction of a kernel."""

from __future__ import annotations

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

    def zeropower_via_newtonschulz5(self, x: Any, steps: int) -> Any:
        """Make a kernel orthogonal as a matrix."""
        return ops.reshape(super().zeropower_via_newtonschulz5(_as_matrix(x), steps), x.shape)

    def lr_adjust(self, x: Any) -> Any:
        """Give a step the length that the size of the kernel as a matrix calls for."""
        return ops.reshape(super().lr_adjust(_as_matrix(x)), x.shape)


def _as_matrix(kernel: Any) -> Any:
    return ops.reshape(kernel, (-1, kernel.shape[-1]))
