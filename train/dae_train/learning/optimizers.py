"""Optimizers that also average the weights they find."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import keras
from keras import ops

from .muon import ConvolutionMuon


class Averaging(keras.optimizers.Optimizer):  # type: ignore[misc]
    """Adds to an optimizer an exponential moving average of every weight, which forgets quickly at first.

    Keras has averages too (`use_ema`), but they begin slowly and are copied over the weights when `fit` ends; its callback
    that exchanges weights and averages rounds both, after which a resumed run is no longer the same.

    Source:
        Polyak, Juditsky: Acceleration of stochastic approximation by averaging. SIAM Journal on Control and Optimization
        30(4), 1992. The beginning is that of `tf.train.ExponentialMovingAverage(num_updates=...)`.
    """

    def __init__(self, learning_rate: Any = 0.001, decay: float = 0.999, **settings: Any) -> None:
        """Keep `decay` of an average in each step, and (1 + t) / (10 + t) of it where that is less, t counting from 0."""
        super().__init__(learning_rate, **settings)
        self.decay = decay

    def build(self, variables: list[Any]) -> None:
        """Make the averages, equal to the weights."""
        if self.built:
            return
        super().build(variables)
        self._averages = self.add_optimizer_variables(variables, "average")
        for average, variable in zip(self._averages, variables, strict=True):
            average.assign(ops.copy(variable))  # JAX would make them one and the same buffer

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Change a weight as the optimizer does, then its average."""
        super().update_step(gradient, variable, learning_rate)
        average = self._averages[self._get_variable_index(variable)]
        step = ops.cast(self.iterations, average.dtype)
        forgotten = ops.maximum(1 - self.decay, 9 / (10 + step))
        self.assign_add(average, (variable - average) * forgotten)

    @property
    def averages(self) -> list[Any]:
        """The averages, in the order of the trainable weights."""
        return list(self._averages)

    def get_config(self) -> dict[str, Any]:
        """Return what makes an optimizer like this one."""
        return {**super().get_config(), "decay": self.decay}


@keras.saving.register_keras_serializable(package="dae_train")
class AveragingAdam(Averaging, keras.optimizers.Adam):  # type: ignore[misc]
    """Adam with averaged weights."""


@keras.saving.register_keras_serializable(package="dae_train")
class AveragingMuon(Averaging, ConvolutionMuon):
    """Muon with averaged weights."""


OPTIMIZERS: Mapping[str, Any] = {
    "muon": AveragingMuon,
    "muon-plain": partial(AveragingMuon, plain=True),
    "adam": AveragingAdam,
}
"""By the names that settings use."""


def averages(optimizer: Any) -> list[Any] | None:
    """Return the averages that an optimizer keeps, in the order of the trainable weights; None if it keeps none."""
    return getattr(getattr(optimizer, "inner_optimizer", optimizer), "averages", None)
