"""The networks of a run: trained, evaluated and saved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from ..networks import FULL_PRECISION, build_network, copy_network, fake_quantized, start_at_mean, start_from
from ..settings.config import RunConfig
from ..settings.processes import Processes
from ..settings.training import TrainingSettings
from .device import on_gpu
from .group import Group


@dataclass(frozen=True)
class Models:
    """One network in up to three variants."""

    trained: keras.Model
    """Computes in the precision of the run."""
    evaluated: keras.Model
    """`trained` itself, or a float32 twin with the averaged weights, of this process alone."""
    saved: keras.Model
    """`evaluated` itself, or its twin without fake quantization."""

    def copy_weights_to(self, twin: keras.Model, averages: Sequence[Any] | None = None) -> None:
        """Copy the weights of `trained`, or their `averages`, to a twin."""
        if twin is self.trained:
            return
        twin.set_weights(self.trained.get_weights())
        for variable, mean in zip(twin.trainable_variables, averages or [], strict=averages is not None):
            variable.assign(np.array(keras.ops.convert_to_numpy(mean)))  # JAX would share the buffer


def build_models(
    config: RunConfig, fresh: bool, mean: float, custom: keras.Model | None = None, group: Group | None = None
) -> Models:
    """Build the models of a run.

    Args:
        config: The run, with all settings filled in.
        fresh: Whether the run starts, with random weights or those of `training.init`.
        mean: Mean value of the clean training images, in [0, 1].
        custom: Network of the program, copied with its weights.
        group: The processes and devices that train; None: one process on one device.

    Raises:
        ConfigError: The network of `training.init` has another structure, or `custom` cannot be copied.
    """
    group = group or Group(Processes())
    if custom is not None and group.processes.count > 1:
        weights = group.share_arrays(custom.get_weights)  # a program may have drawn others in each process
        custom = copy_network(custom, None)
        custom.set_weights(weights)

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
    if group.distribution is not None:
        trained = _spread(trained, lambda: fake_quantized(build(dtype)) if training.qat else build(dtype), group)
    elif not training.ema and dtype == FULL_PRECISION:
        return Models(trained, trained, network)
    twin = build(FULL_PRECISION)
    return Models(trained, fake_quantized(twin) if training.qat else twin, twin)


def _spread(network: keras.Model, build: Callable[[], keras.Model], group: Group) -> keras.Model:
    """Return a network of the same structure on all devices, with the weights that it has in process 0."""
    with group.scope():
        spread = build()
        spread.set_weights(group.share_arrays(network.get_weights))
    return spread


def compute_dtype(training: TrainingSettings) -> str:
    """Return the Keras dtype policy of a run on the started device."""
    if training.precision == "fp32":
        return FULL_PRECISION
    return "mixed_float16" if on_gpu() else "mixed_bfloat16"
