"""The models, the optimizer and the data of a run in progress."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from dae_runtime.contract import RunDirectory

from ..data.batches import BatchPlan
from ..data.image_set import FloatArray, Images, ImageSet
from ..judging.history import Row, write_history
from ..judging.validation import judging
from ..learning.optimizers import averages, make_optimizer
from ..noise import LeveledNoise, NoiseLayer, add_custom, draw_leveled, draw_noisy
from ..settings.networks import takes_sigma
from ..settings.noise import VALIDATION_SEED, CustomNoise
from .callbacks import Judge, Recorder, ReseedEpoch, tensorboard
from .checkpoints import load_last, save_model, save_with_optimizer
from .device import on_gpu
from .input_pipeline import BatchNoise, BatchStream, DeviceFeed, Feed, HostFeed, fits_device
from .models import Models, compute_dtype
from .preparation import Prepared
from .throughput import Meter
from .trainer import Trainer, build_trainer

_VALIDATION_BATCH_PX = 2**18
_CUSTOM_NOISE = 5  # what a random number is for, as part of its seed
_MEASURE_EVERY = 8  # steps on a GPU, which must not be kept waiting; a CPU does one thing after the other anyway


@dataclass(frozen=True)
class Session:
    """A run in progress."""

    prepared: Prepared
    run: RunDirectory
    models: Models
    trainer: Trainer
    feed: Feed
    custom_noise: CustomNoise | None
    """What adds the noise if it is a function of the program."""
    validation: list[FloatArray]
    """What the network is given of the validation images; see `draw`."""

    def draw(self, images: Images, clean: Images, seed: int) -> list[FloatArray]:
        """Draw the noise of the run on images of one size; return them, and their levels if the network is given these."""
        return _drawn(self.prepared, images, clean, seed, self.custom_noise)

    def restore(self, path: Path) -> int:
        """Take up weights and optimizer state; return the number of weight updates so far."""
        return load_last(path, self.models.trained, self.trainer.optimizer)

    def fit(self, rows: list[Row], verbose: int) -> None:
        """Train the epochs that are missing in `rows`, which grows by them."""
        training = self.prepared.config.training
        steps = training.steps_per_epoch
        assert steps is not None  # the preparation filled it in
        self.trainer.fit(
            BatchStream(self.feed, len(rows) * steps),
            steps_per_epoch=steps,
            initial_epoch=len(rows),
            epochs=training.epochs,
            verbose=verbose,
            shuffle=False,  # the plan shuffles
            callbacks=[
                self.trainer.meter,
                ReseedEpoch(training.seed),
                self._judge(),
                Recorder(rows, training.patience, self._save),
                *tensorboard(self.run.tensorboard),
            ],
        )

    def _judge(self) -> Judge:
        network = self.models.judged
        judged = judging(self.prepared.config, self.validation, self.prepared.validation.clean)
        evaluator = keras.Model(network.inputs, network.outputs)
        evaluator.compile(loss=judged.loss, metrics=judged.metrics)
        size = max(1, _VALIDATION_BATCH_PX // (judged.target.shape[1] * judged.target.shape[2]))
        given = judged.given if len(judged.given) > 1 else judged.given[0]
        return Judge(evaluator, lambda: self._give_averages(network), given, judged.target, size, judged.weights)

    def _give_averages(self, twin: keras.Model) -> None:
        """Give a twin the average of the weights if the run keeps one, or else the weights as they are."""
        self.models.give(twin, averages(self.trainer.optimizer) if self.prepared.config.training.ema else None)

    def _save(self, rows: list[Row], improved: bool) -> None:
        """Write history, then the best model, then the last one: whichever of them a kill prevents is made again on resume.

        The best model has averaged weights, the last one those to continue from; the averages are in its optimizer.
        """
        write_history(self.run.history, rows)
        saved = self.models.saved
        if improved:
            self._give_averages(saved)
            save_model(saved, self.run.best_model)
        self.models.give(saved)
        save_with_optimizer(saved, self.trainer.optimizer, self.run.last_model)


def open_session(prepared: Prepared, run: RunDirectory, models: Models, noise: CustomNoise | None = None) -> Session:
    """Connect the models of a run with its data, noise and optimizer; nothing is written.

    Args:
        prepared: The run.
        run: Where it will be written.
        models: Of the run; see `build_models`.
        noise: What adds the noise if it is a function of the program.

    Raises:
        ConfigError: The teacher cannot be used, or the function returned something else than a noisy batch.
    """
    config, plan = prepared.config, prepared.plan
    training = config.training
    steps = () if config.noise.once else config.noise.steps
    if config.noise.once:
        plan = _with_noise(plan, prepared, noise)
    batch_noise = None if config.noise.once else _batch_noise(prepared, noise)
    # Determinism rules out XLA in TensorFlow, without which 8-bit images may be gathered on the host.
    on_host = training.deterministic or batch_noise is not None
    feed = HostFeed(plan, batch_noise) if on_host else choose_feed(plan)
    meter = Meter(plan.batch_size, _MEASURE_EVERY if on_gpu() else 1)
    layer = NoiseLayer(steps, config.noise.clip, training.seed)
    if takes_sigma(config.model):
        layer = LeveledNoise(steps, config.noise.clip, training.seed, plan.images.noisy is not None)
    trainer = build_trainer(models.trained, feed, layer, training, meter)
    optimizer = make_optimizer(config, plan.steps_per_epoch, compute_dtype(training))
    optimizer.build(models.trained.trainable_variables)
    trainer.compile(optimizer, auto_scale_loss=False)
    validation = _drawn(prepared, prepared.validation.input, prepared.validation.clean, VALIDATION_SEED, noise)
    return Session(prepared, run, models, trainer, feed, noise, validation)


def choose_feed(plan: BatchPlan) -> Feed:
    """Return a feed that cuts on the device where that is a GPU; a CPU cuts as fast with numpy."""
    return DeviceFeed(plan) if on_gpu() and fits_device(plan) else HostFeed(plan)


def _batch_noise(prepared: Prepared, noise: CustomNoise | None) -> BatchNoise | None:
    """Return what adds a program's noise to the batch of a step; the seed of each step is its own."""
    if noise is None:
        return None
    clip, seed = prepared.config.noise.clip, prepared.config.training.seed
    return lambda images, step: add_custom(noise, images, clip, (seed, _CUSTOM_NOISE, step))


def _drawn(prepared: Prepared, images: Images, clean: Images, seed: int, noise: CustomNoise | None) -> list[FloatArray]:
    config = prepared.config
    if not takes_sigma(config.model):
        return [np.asarray(draw_noisy(images, config.noise, seed, noise))]
    paired = prepared.plan.images.noisy is not None
    return [*draw_leveled(np.asarray(images), np.asarray(clean), config.noise, seed, paired, noise)]


def _with_noise(plan: BatchPlan, prepared: Prepared, noise: CustomNoise | None) -> BatchPlan:
    images = plan.images
    noisy = draw_noisy(images.clean if images.noisy is None else images.noisy, prepared.config.noise, plan.seed, noise)
    return dataclasses.replace(plan, images=ImageSet(images.clean, noisy))
