"""The model that Keras fits: a feed, noise, the denoiser, and what its output is compared with."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from ..errors import ConfigError
from ..learning.losses import Loss, weight
from ..learning.supervision import connect, loss_function
from ..networks import load
from ..settings.training import BY_LEVEL, TrainingSettings
from .input_pipeline import Feed
from .throughput import Meter


class Trainer(keras.Model):  # type: ignore[misc]
    """Makes target, output and, with a teacher, the teacher's output from what a feed delivers; never saved."""

    loss_function: Loss
    teacher_weight: float
    by_level: bool = False
    """Whether the last output is the noise level, by which the loss of an image weighs."""
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
        clean, denoised, *rest = y_pred
        weights = weight(rest.pop())[:, :, None] if self.by_level else 1.0
        loss = ops.mean(self.loss_function(clean, denoised) * weights)
        if not rest:
            return loss
        share = self.teacher_weight
        return (1 - share) * loss + share * ops.mean(self.loss_function(ops.stop_gradient(rest[0]), denoised) * weights)

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
    given, target, denoised = connect(training, denoiser, noise, image, target)
    outputs = [target, denoised]
    if training.teacher is not None:
        outputs.append(_taught(training.teacher, given))
    by_level = training.loss == BY_LEVEL
    if by_level:
        outputs.append(given[1])
    trainer = Trainer(inputs, outputs)
    trainer.by_level = by_level
    trainer.loss_function, trainer.teacher_weight = loss_function(training), training.teacher_weight
    trainer.meter = meter
    return trainer


def _taught(name: str, given: list[Any]) -> Any:
    """Return what a teacher makes of noisy images; their level, if it is known, is for one that is given it."""
    loaded, noisy = load(name, "--teacher"), given[0]
    if len(loaded.inputs) > len(given):
        raise ConfigError(
            f"--teacher {name}: that network is given the noise level, and the one to be trained is not. "
            "Train with --sigma-input, or take another teacher."
        )
    # Renamed: two networks of one name cannot be in one model.
    inputs = loaded.inputs if len(loaded.inputs) > 1 else loaded.inputs[0]
    teacher = keras.Model(inputs, loaded.outputs[0], name="teacher")
    teacher.trainable = False
    try:
        output = teacher(given if len(loaded.inputs) > 1 else noisy, training=False)
    except ValueError:  # of Keras, which names layers that a user has never heard of
        output = None
    if output is None or output.shape != noisy.shape:
        _, height, width, channels = noisy.shape
        raise ConfigError(
            f"--teacher {name}: expected a network for pieces of {width}x{height} pixels in {channels} channels, "
            f"received one for {teacher.input_shape}. Choose a --patch-size that fits both networks, or another teacher."
        )
    return output
