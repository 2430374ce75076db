"""The model that Keras fits: a feed, noise, the denoiser, and what its output is compared with."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from ..errors import ConfigError
from ..learning.losses import Loss
from ..learning.supervision import connect, loss_function
from ..networks import load
from ..settings.training import TrainingSettings
from .input_pipeline import Feed
from .throughput import Meter


class Trainer(keras.Model):  # type: ignore[misc]
    """Makes target, output and, with a teacher, the teacher's output from what a feed delivers; never saved."""

    loss_function: Loss
    teacher_weight: float
    meter: Meter
    train_function: Any

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Return the loss of a batch, a scalar; `y_pred` is what the model makes.

        Source of the part with a teacher:
            Hinton, Vinyals, Dean: Distilling the knowledge in a neural network. arXiv 1503.02531, 2015.
        """
        del x, y, sample_weight, training
        clean, denoised, *taught = y_pred
        loss = ops.mean(self.loss_function(clean, denoised))
        if not taught:
            return loss
        weight = self.teacher_weight
        return (1 - weight) * loss + weight * ops.mean(self.loss_function(ops.stop_gradient(taught[0]), denoised))

    def make_train_function(self, force: bool = False) -> None:
        """Make the function that trains one step, with the meter around it."""
        if self.train_function is None or force:
            super().make_train_function(force)
            self.train_function = self.meter.timed(self.train_function)


def build_trainer(
    denoiser: keras.Model, feed: Feed, noise: keras.layers.Layer, training: TrainingSettings, meter: Meter
) -> Trainer:
    """Connect everything that takes part in a step; it is not compiled yet.

    Raises:
        ConfigError: The teacher cannot be loaded, or does not take the images of this run.
    """
    inputs, image, target = feed.tensors()
    noisy, target, denoised = connect(training, denoiser, noise, image, target)
    outputs = [target, denoised]
    if training.teacher is not None:
        outputs.append(_taught(training.teacher, noisy))
    trainer = Trainer(inputs, outputs)
    trainer.loss_function, trainer.teacher_weight = loss_function(training), training.teacher_weight
    trainer.meter = meter
    return trainer


def _taught(name: str, noisy: Any) -> Any:
    """Return what a teacher makes of noisy images."""
    loaded = load(name, "--teacher")
    # Renamed: two networks of one name cannot be in one model.
    teacher = keras.Model(loaded.inputs[0], loaded.outputs[0], name="teacher")
    teacher.trainable = False
    try:
        output = teacher(noisy, training=False)
    except ValueError:  # of Keras, which names layers that a user has never heard of
        output = None
    if output is None or output.shape != noisy.shape:
        _, height, width, channels = noisy.shape
        raise ConfigError(
            f"--teacher {name}: expected a network for pieces of {width}x{height} pixels in {channels} channels, "
            f"received one for {teacher.input_shape}. Choose a --patch-size that fits both networks, or another teacher."
        )
    return output
