"""The networks of a run: the one that is trained, and its twins that are judged and saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from ..networks import FULL_PRECISION, build_network, copy_network, fake_quantized, start_at_mean, start_from
from ..settings.config import RunConfig
from ..settings.training import TrainingSettings
from .device import on_gpu


@dataclass(frozen=True)
class Models:
    """One network in up to three forms."""

    trained: keras.Model
    """Its layers compute in the precision of the run."""
    judged: keras.Model
    """`trained` itself, or a float32 twin, which has the average of the weights."""
    saved: keras.Model
    """What is written: `judged` itself, or a twin that rounds nothing."""

    def give(self, twin: keras.Model, averages: Sequence[Any] | None = None) -> None:
        """Give a twin the weights of `trained`, or the averages of them where there are any."""
        if twin is self.trained:
            return
        twin.set_weights(self.trained.get_weights())
        for variable, mean in zip(twin.trainable_variables, averages or [], strict=averages is not None):
            variable.assign(keras.ops.copy(mean))  # JAX would make them one and the same buffer


def build_models(config: RunConfig, fresh: bool, mean: float, custom: keras.Model | None = None) -> Models:
    """Build the models of a run.

    Args:
        config: The run, every setting filled in.
        fresh: Whether it begins, with random weights or those of the trained network to start from.
        mean: Mean value of the clean training images, in [0, 1].
        custom: The network where the program brings its own; copied, weights and all.

    Raises:
        ConfigError: The trained network has another structure, or the program's own cannot be copied.
    """

    def build(dtype: str) -> keras.Model:
        if custom is not None:
            return copy_network(custom, None if dtype == FULL_PRECISION else dtype)
        return build_network(config.model, dtype)

    training = config.training
    dtype = compute_dtype(training)
    network = build(dtype)
    if fresh and training.init is not None:
        start_from(training.init, network)
    elif custom is None:
        start_at_mean(network, mean)
    trained = fake_quantized(network) if training.qat else network
    if not training.ema and dtype == FULL_PRECISION:
        return Models(trained, trained, network)
    twin = build(FULL_PRECISION)
    return Models(trained, fake_quantized(twin) if training.qat else twin, twin)


def compute_dtype(training: TrainingSettings) -> str:
    """Return the Keras dtype policy that a run trains in, on the device that was started."""
    if training.precision == "fp32":
        return FULL_PRECISION
    return "mixed_float16" if on_gpu() else "mixed_bfloat16"
