"""Training that ends by the clock."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import keras

from dae_train.learning.optimizers import learning_rate
from dae_train.settings.training import CONSTANT, SCHEDULES, TrainingSettings

_FINE = 10_000  # steps of the schedule that is read by time
_FIRST = 0.01


class Clock(keras.callbacks.Callback):  # type: ignore[misc]
    """Stops before the time is over, keeps enough of it to validate and save, and lets the learning rate follow it."""

    def __init__(self, end_s: float, rate: Callable[[float], float] | None = None) -> None:
        """Stop at `time.monotonic()` of `end_s`; set the learning rate of each epoch to `rate` of the part that is over."""
        super().__init__()
        self.end_s, self.rate = end_s, rate
        self._started_s: float | None = None  # once compiled
        self._last_s = self._epoch_s = time.monotonic()
        self._call_s = self._reserve_s = 0.0
        self._half_epoch_s = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Set the learning rate to that of the middle of the epoch."""
        del epoch, logs
        now_s = time.monotonic()
        if self._started_s is not None:
            self._reserve_s = now_s - self._last_s
            self._half_epoch_s = (now_s - self._epoch_s) / 2
        self._epoch_s = self._last_s = now_s
        if self.rate is not None:
            self.model.optimizer.learning_rate = self.rate(self._part(now_s + self._half_epoch_s))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Stop if another call and the end of the epoch would take too long."""
        del batch
        keras.ops.convert_to_numpy(logs["loss"])  # waits for the device
        now_s = time.monotonic()
        if self._started_s is None:
            self._started_s = self._epoch_s = self._last_s = now_s
        self._call_s = now_s - self._last_s
        if now_s + self._call_s + self._reserve_s > self.end_s:
            self.model.stop_training = True
        self._last_s = now_s

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Stop if another epoch would not hold a call."""
        del epoch, logs
        if time.monotonic() + self._call_s + 2 * self._reserve_s > self.end_s:
            self.model.stop_training = True

    def _part(self, at_s: float) -> float:
        if self._started_s is None:
            return _FIRST
        return min((at_s - self._started_s) / max(self.end_s - self._started_s, 1e-9), 1.0)


def by_time(training: TrainingSettings) -> tuple[TrainingSettings, Callable[[float], float]]:
    """Return settings with a constant rate, and the cosine schedule of the given ones as a function of the part of the time.

    The warmup takes a fiftieth of the time.
    """
    cosine = dataclasses.replace(training, schedule=SCHEDULES[0], warmup_steps=None, epochs=1, steps=None)
    schedule = learning_rate(cosine, _FINE)
    constant = dataclasses.replace(
        training, schedule=CONSTANT, warmup_steps=None, learning_rate=training.rate, epochs=_UNBOUNDED, steps=None
    )
    return constant, lambda part: float(schedule(int(part * _FINE)))


_UNBOUNDED = 10**6
"""Epochs of a run that ends by the clock."""
