"""The model that Keras fits: input pipeline, noise, denoiser and target."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from ..errors import ConfigError
from ..learning.losses import Loss, weight
from ..learning.supervision import connect, loss_function
from ..learning.turns import Turned
from ..networks import load_trained
from ..settings.training import BY_LEVEL, TrainingSettings
from .input_pipeline import Feed
from .throughput import Meter


class Trainer(keras.Model):  # type: ignore[misc]
    """Computes target, output and the output of the teacher, if any, from the inputs of a feed; never saved."""

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
        """Return the scalar loss of a batch; `y_pred` is the output of this model.

        Source of the distillation loss:
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
        """Build the function of one training step, wrapped by the meter."""
        if self.train_function is None or force:
            super().make_train_function(force)
            self.train_function = self.meter.timed(self.train_function)


def build_trainer(
    denoiser: keras.Model,
    feed: Feed,
    noise: keras.layers.Layer,
    training: TrainingSettings,
    meter: Meter,
    custom_loss: Loss | None = None,
    turned: bool = False,
) -> Trainer:
    """Build the model of a training step, not compiled.

    `custom_loss` is that of the program, if any; `turned`, whether the teacher sees images flipped and turned.

    Raises:
        ConfigError: The teacher cannot be loaded, or does not accept the images of this run.
    """
    inputs, image, target = feed.tensors()
    given, target, denoised = connect(training, denoiser, noise, image, target)
    outputs = [target, denoised]
    if training.teacher is not None:
        outputs.append(_teacher_output(training.teacher, given, training.seed if turned else None))
    by_level = training.loss == BY_LEVEL
    if by_level:
        outputs.append(given[1])
    trainer = Trainer(inputs, outputs)
    trainer.by_level = by_level
    trainer.loss_function, trainer.teacher_weight = loss_function(training, custom_loss), training.teacher_weight
    trainer.meter = meter
    return trainer


def _teacher_output(name: str, given: list[Any], turns: int | None) -> Any:
    """Return the output of the teacher for noisy images, and their levels if it is given these; `turns` seeds its turns."""
    loaded, noisy = load_trained(name, "--teacher"), given[0]
    if len(loaded.inputs) > len(given):
        raise ConfigError(
            f"--teacher {name}: that network is given the noise level, and the one to be trained is not. "
            "Train with --sigma-input, or take another teacher."
        )
    # Renamed: the networks of one model need different names.
    inputs = loaded.inputs if len(loaded.inputs) > 1 else loaded.inputs[0]
    teacher = keras.Model(inputs, loaded.outputs[0], name="teacher")
    teacher.trainable = False
    seen = given[: len(loaded.inputs)]
    try:
        output = teacher(seen if len(seen) > 1 else noisy, training=False)
    except ValueError:  # its text names layers that the user does not know
        output = None
    if output is None or output.shape != noisy.shape:
        _, height, width, channels = noisy.shape
        raise ConfigError(
            f"--teacher {name}: expected a network for patches of {width}x{height} pixels in {channels} channels, "
            f"received one for {teacher.input_shape}. Choose a --patch-size that fits both networks, or another teacher."
        )
    return output if turns is None else Turned(teacher, turns)(*seen)
