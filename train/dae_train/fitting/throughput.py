"""Training throughput, and the time spent waiting for data."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import keras

Logs = dict[str, Any]
StepFunction = Callable[..., Any]


class Meter(keras.callbacks.Callback):  # type: ignore[misc]
    """Adds to the logs of each epoch `images_per_s` and `waiting`, the fraction of time in which the device had no batch.

    A GPU runs asynchronously, so waiting for a batch on the host says nothing by itself. Some steps therefore synchronize
    first: the time until the next batch is then idle. The first step, in which Keras compiles, is not counted.
    """

    def __init__(self, images_per_step: int, measure_every: int) -> None:
        """Measure waiting in every `measure_every`th step; each measurement synchronizes."""
        super().__init__()
        self.images_per_step, self.measure_every = images_per_step, measure_every
        self._compiled = False
        self._started_s, self._steps = 0.0, 0
        self._waited_s, self._measured_s = 0.0, 0.0
        self._last: Any = None

    def timed(self, step_function: StepFunction) -> StepFunction:
        """Wrap a Keras `train_function`, whose last argument is the batch iterator."""

        def run(*arguments: Any) -> Any:
            *state, iterator = arguments
            if not self._compiled:
                result = self._measured(step_function, state, iterator)
                self._compiled = True
                self._restart()
                return result
            self._steps += 1
            if self._steps % self.measure_every == 0:
                return self._measured(step_function, state, iterator)
            result = step_function(*state, iter([next(iterator)]))
            self._last = _logs(result)
            return result

        return run

    def _measured(self, step_function: StepFunction, state: list[Any], iterator: Any) -> Any:
        _finish(self._last)
        started_s = time.perf_counter()
        data = next(iterator)
        got_s = time.perf_counter()
        result = step_function(*state, iter([data]))
        self._last = _logs(result)
        _finish(self._last)
        self._waited_s += got_s - started_s
        self._measured_s += time.perf_counter() - started_s
        return result

    def _restart(self) -> None:
        self._started_s, self._steps = time.perf_counter(), 0
        self._waited_s = self._measured_s = 0.0
        self._last = None

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Start the clock."""
        del epoch, logs
        self._restart()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Add both metrics; Keras has just read the loss, so the device is idle."""
        del epoch
        assert logs is not None  # Keras always passes them
        seconds = time.perf_counter() - self._started_s
        logs["images_per_s"] = self._steps * self.images_per_step / seconds
        logs["waiting"] = self._waited_s / self._measured_s if self._measured_s else 0.0


def _logs(result: Any) -> Any:
    return result[0] if isinstance(result, tuple) else result  # JAX also returns its state


def _finish(logs: Any) -> None:
    """Wait for the device to compute these logs."""
    if logs is not None:
        keras.ops.convert_to_numpy(logs["loss"])
