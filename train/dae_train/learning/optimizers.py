"""Optimizers with weight averaging, and learning rate schedules."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import keras
from keras import ops
from keras.optimizers import schedules

from ..settings.config import RunConfig
from ..settings.training import TrainingSettings
from .muon import ConvolutionMuon

WARMUP_STEPS = 200
WARMUP_SHARE = 0.1
FINAL_RATE_SHARE = 0.01


class Averaging(keras.optimizers.Optimizer):  # type: ignore[misc]
    """Adds to an optimizer an exponential moving average of every weight, with a faster decay at first.

    Keras' own averages (`use_ema`) start slowly and overwrite the weights when `fit` ends; its callback that swaps weights and
    averages rounds both, so a resumed run would differ.

    Source:
        Polyak, Juditsky: Acceleration of stochastic approximation by averaging. SIAM Journal on Control and Optimization
        30(4), 1992. The first steps follow `tf.train.ExponentialMovingAverage(num_updates=...)`.
    """

    def __init__(self, learning_rate: Any = 0.001, decay: float = 0.999, **settings: Any) -> None:
        """Keep `decay` of an average in each step, and (1 + t) / (10 + t) of it where that is less, t counting from 0."""
        super().__init__(learning_rate, **settings)
        self.decay = decay

    def build(self, variables: list[Any]) -> None:
        """Initialize the averages with the weights."""
        if self.built:
            return
        super().build(variables)
        self._averages = self.add_optimizer_variables(variables, "average")
        for average, variable in zip(self._averages, variables, strict=True):
            average.assign(ops.copy(variable))  # JAX would share the buffer

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update a weight, then its average."""
        super().update_step(gradient, variable, learning_rate)
        average = self._averages[self._get_variable_index(variable)]
        step = ops.cast(self.iterations, average.dtype)
        rate = ops.maximum(1 - self.decay, 9 / (10 + step))
        self.assign_add(average, (variable - average) * rate)

    @property
    def averages(self) -> list[Any]:
        """The averages, in the order of the trainable weights."""
        return list(self._averages)

    def get_config(self) -> dict[str, Any]:
        """Return the Keras configuration."""
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
"""By their names in the settings."""


def make_optimizer(config: RunConfig, steps_per_epoch: int, dtype: str) -> Any:
    """Return the optimizer of a run, with its learning rate schedule.

    Args:
        config: The run.
        steps_per_epoch: Weight updates in an epoch.
        dtype: Keras dtype policy of the run.
    """
    optimizer: Any = OPTIMIZERS[config.optimizer](learning_rate(config.training, steps_per_epoch), config.training.ema)
    # float16 gradients underflow without loss scaling.
    return keras.optimizers.LossScaleOptimizer(optimizer) if dtype == "mixed_float16" else optimizer


def averages(optimizer: Any) -> list[Any] | None:
    """Return the averages of an optimizer in the order of the trainable weights; None without averaging."""
    return getattr(unscaled(optimizer), "averages", None)


def unscaled(optimizer: Any) -> Any:
    """Return an optimizer without the scaling of losses that float16 needs."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def learning_rate(training: TrainingSettings, steps_per_epoch: int) -> Any:
    """Return the learning rate of a run: a number, or a schedule that Keras can save.

    Source:
        Loshchilov, Hutter: SGDR: stochastic gradient descent with warm restarts. ICLR 2017 (the half cosine).
    """
    if training.schedule == "constant":
        return training.rate
    total = training.epochs * steps_per_epoch
    warmup = warmup_steps(training, total)
    falling = max(1, total - warmup)
    if warmup == 0:
        return schedules.CosineDecay(training.rate, falling, alpha=FINAL_RATE_SHARE)
    return schedules.CosineDecay(
        training.rate / warmup,  # the first step has a rate above 0
        falling,
        alpha=FINAL_RATE_SHARE,
        warmup_target=training.rate,
        warmup_steps=warmup,
    )


def warmup_steps(training: TrainingSettings, total_steps: int) -> int:
    """Return the warmup in steps: as set, or 200, at most a tenth of all steps."""
    if training.warmup_steps is not None:
        return min(training.warmup_steps, total_steps)
    return min(WARMUP_STEPS, int(WARMUP_SHARE * total_steps))
