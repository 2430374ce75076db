"""Several training steps in one call of the device: JAX compiles one step, and loops over a stack of batches.

A step of a small network takes a GPU a few milliseconds, and starting it from Python takes as long again.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import keras
import numpy as np

from dae_train.fitting.input_pipeline import Arrays, Feed
from dae_train.fitting.session import Session


class Stacked:
    """A feed whose batch is that of several steps: arrays with one more axis in front."""

    def __init__(self, feed: Feed, steps: int) -> None:
        self.feed, self.steps = feed, steps

    def batch(self, step: int) -> Arrays:
        """Return the inputs of call `step`, counted from the start of the run: (steps, N, ...)."""
        batches = [self.feed.batch(number) for number in range(step * self.steps, (step + 1) * self.steps)]
        return tuple(np.stack(arrays) for arrays in zip(*batches, strict=True))

    def tensors(self) -> tuple[list[Any], Any, Any]:
        """Return those of a single step; see `Feed`."""
        return self.feed.tensors()


def in_calls(session: Session, at_most: int) -> Session:
    """Return a session that makes several steps in each call, with the same batches, noise and results.

    Args:
        session: On the JAX backend, not yet fitted; its trainer is changed.
        at_most: Number of steps; the largest one up to this that divides an epoch is taken.
    """
    config = session.prepared.config
    steps_per_epoch = session.prepared.plan.steps_per_epoch
    steps = max(number for number in range(1, at_most + 1) if steps_per_epoch % number == 0)
    trainer = session.trainer
    trainer.train_step = _scanned(trainer.train_step)
    trainer.meter.images_per_step *= steps
    for variable in trainer.variables + trainer.optimizer.variables:
        variable.assign(keras.ops.convert_to_numpy(variable))  # else of a weak type at first, and compiled again later
    training = dataclasses.replace(config.training, steps_per_epoch=steps_per_epoch // steps)
    prepared = dataclasses.replace(session.prepared, config=dataclasses.replace(config, training=training))
    return dataclasses.replace(session, prepared=prepared, feed=Stacked(session.feed, steps))


def _scanned(train_step: Any) -> Any:
    """Return the step of a Keras trainer, (state, data) to (logs, state), as a loop over the first axis of the data."""

    def body(state: Any, data: Any) -> Any:
        logs, (trainable, others, optimizer, metrics) = train_step(state, data)
        return (list(trainable), list(others), list(optimizer), list(metrics)), logs

    def several(state: Any, data: Any) -> Any:
        state, logs = jax.lax.scan(body, tuple(map(list, state)), data)
        return jax.tree.map(lambda values: values[-1], logs), state  # the loss is the mean since the epoch began

    return several
