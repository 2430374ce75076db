"""Keras callbacks around each epoch."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ..errors import TrainError
from ..judging.history import VALIDATION_METRICS, Row, best_epoch, out_of_patience

_LOG = logging.getLogger("dae_train")
_RANDOM = 4  # part of the seed, one number for each use

Logs = dict[str, Any]


class Outside(keras.callbacks.Callback):  # type: ignore[misc]
    """Calls another callback outside the scope of the distribution, in which every process must create the same variables."""

    def __init__(self, callback: keras.callbacks.Callback, outside: Callable[[], AbstractContextManager[None]]) -> None:
        super().__init__()
        self.callback = callback

        def wrapped(hook: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **named: Any) -> Any:
                with outside():
                    return hook(*arguments, **named)

            return call

        for name in dir(callback):
            hook = getattr(callback, name)
            if name.startswith("on_") and not getattr(
                hook, "_is_default", False
            ):  # Keras calls those of batches if they exist
                setattr(self, name, wrapped(hook))

    def set_model(self, model: keras.Model) -> None:
        """Pass the model on."""
        self.callback.set_model(model)

    def set_params(self, params: dict[str, Any]) -> None:
        """Pass the parameters on."""
        self.callback.set_params(params)


class ReseedEpoch(keras.callbacks.Callback):  # type: ignore[misc]
    """Reseeds every random generator of the model in each epoch, so that a resumed epoch samples the same numbers."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Reset the states of noise and dropout."""
        del logs
        states = [v for v in self.model.non_trainable_variables if v.name == "seed_generator_state"]
        for index, state in enumerate(states):
            drawn = np.random.default_rng([self.seed, _RANDOM, epoch, index]).integers(2**31)
            state.assign([int(drawn), 0])


class Validation(keras.callbacks.Callback):  # type: ignore[misc]
    """Evaluates the validation images after each epoch and adds the metrics to its logs."""

    def __init__(
        self,
        evaluator: keras.Model,
        refresh: Callable[[], None],
        noisy: Any,
        clean: Any,
        batch_size: int,
        weights: Any = None,
        share: Callable[[Callable[[], dict[str, float]]], dict[str, float]] = lambda make: make(),
    ) -> None:
        """Call `refresh`, which copies the weights to `evaluator`, before each evaluation.

        `noisy` is the input of the network, with levels if it takes them; `weights` are the loss weights of the images, None
        for equal ones. `share` returns the metrics in every process, evaluated in one.
        """
        super().__init__()
        self.evaluator, self.refresh, self.noisy, self.clean, self.batch_size = evaluator, refresh, noisy, clean, batch_size
        self.weights, self.share = weights, share

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Add `val_loss` and the metrics; the progress bar, which runs last, shows them."""
        assert logs is not None  # Keras always passes them
        metrics = self.share(self._evaluate)
        logs.update({f"val_{name}": value for name, value in metrics.items()})
        for name, words in (("loss", "loss"), ("val_loss", "loss of the validation images")):
            if not math.isfinite(logs[name]):
                raise TrainError(f"the {words} became {logs[name]} in epoch {epoch + 1}. Use a lower learning rate (--lr).")

    def _evaluate(self) -> dict[str, float]:
        self.refresh()
        metrics: dict[str, float] = self.evaluator.evaluate(
            self.noisy,
            self.clean,
            batch_size=self.batch_size,
            verbose=0,
            sample_weight=self.weights,
            return_dict=True,
        )
        return metrics


class Recorder(keras.callbacks.Callback):  # type: ignore[misc]
    """Records the history, saves after each epoch, and stops early."""

    def __init__(self, rows: list[Row], patience: int, save: Callable[[list[Row], bool], None]) -> None:
        """Append to `rows` and call `save(rows, improved)` after each epoch."""
        super().__init__()
        self.rows, self.patience, self.save = rows, patience, save
        self.started_s = 0.0

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Start the clock."""
        del epoch, logs
        self.started_s = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Add a row and save."""
        assert logs is not None  # Keras always passes them
        optimizer = self.model.optimizer
        row = {
            name: float(logs[name]) for name in ("loss", "val_loss", *(name for name in VALIDATION_METRICS if name in logs))
        }
        speed = {"images_per_s": round(float(logs["images_per_s"]), 1), "waiting": round(float(logs["waiting"]), 4)}
        self.rows.append(
            {
                "epoch": epoch + 1,
                "step": int(keras.ops.convert_to_numpy(optimizer.iterations)),
                **row,
                "lr": float(keras.ops.convert_to_numpy(optimizer.learning_rate)),
                "seconds": round(time.perf_counter() - self.started_s, 3),
                **speed,
            }
        )
        self.save(self.rows, best_epoch(self.rows) is self.rows[-1])
        if out_of_patience(self.rows, self.patience):
            _LOG.info("stopping: no lower validation loss in %d epochs", self.patience)
            self.model.stop_training = True


class EventWriter(keras.callbacks.Callback):  # type: ignore[misc]
    """Writes the metrics of each epoch as TensorBoard event files.

    The callback of Keras needs the package `tensorboard`, which TensorFlow no longer installs and writing does not need.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.writers: dict[str, Any] = {}

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write one point of each training and validation curve."""
        from tensorflow.summary import create_file_writer

        for name, value in {**(logs or {}), "learning_rate": self._learning_rate()}.items():
            part = "validation" if name.startswith("val_") else "train"
            if part not in self.writers:
                self.writers[part] = create_file_writer(str(self.folder / part))
            with self.writers[part].as_default():
                _write_scalar(f"epoch_{name.removeprefix('val_')}", float(value), epoch)
        for writer in self.writers.values():
            writer.flush()

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Close the files."""
        del logs
        for writer in self.writers.values():
            writer.close()

    def _learning_rate(self) -> float:
        return float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))


def _write_scalar(tag: str, value: float, step: int) -> None:
    import tensorflow as tf

    metadata = tf.compat.v1.SummaryMetadata(plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"))
    tf.summary.write(tag, tf.constant(value), step=step, metadata=metadata)


def tensorboard(folder: Path) -> list[keras.callbacks.Callback]:
    """Return the callback that writes TensorBoard files; none without the TensorFlow backend, which writes them."""
    if keras.config.backend() == "tensorflow":
        return [EventWriter(folder)]
    _LOG.info("TensorBoard files need KERAS_BACKEND=tensorflow; none are written")
    return []
