"""The models, the optimizer and the data of a run in progress."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from dae_runtime.contract import NoiseRecipe, RunDirectory

from ..data.batches import BatchPlan
from ..data.image_set import FloatArray, Images, ImageSet
from ..judging.history import Row, write_history
from ..judging.validation import validation_setup
from ..learning.optimizers import averages, make_optimizer
from ..noise import LeveledNoise, NoiseLayer, add_custom, draw_leveled, draw_noisy
from ..settings.networks import takes_sigma
from ..settings.noise import VALIDATION_SEED, CustomNoise
from ..settings.processes import Processes
from .callbacks import Outside, Recorder, ReseedEpoch, Validation, tensorboard
from .checkpoints import load_last, save_model, save_with_optimizer
from .custom import Custom, check_loss
from .device import on_gpu
from .group import Group
from .input_pipeline import BatchNoise, BatchStream, DeviceFeed, Feed, HostFeed, fits_device
from .models import Models, compute_dtype
from .preparation import Prepared
from .throughput import Meter
from .trainer import Trainer, build_trainer

_VALIDATION_BATCH_PX = 2**18
_CUSTOM_NOISE = 5  # part of the seed, one number for each use
_MEASURE_EVERY = 8  # steps on a GPU, where measuring blocks; a CPU runs synchronously anyway


@dataclass(frozen=True)
class Session:
    """A run in progress."""

    prepared: Prepared
    run: RunDirectory
    models: Models
    trainer: Trainer
    feed: Feed
    custom: Custom
    """Functions of the program, if any."""
    validation: list[FloatArray]
    """Network input of the validation images; see `draw`."""
    group: Group
    """The processes and devices that train."""

    def draw(self, images: Images, clean: Images, seed: int) -> list[FloatArray]:
        """Return images of one size with the noise of the run, and their levels if the network is given these."""
        return _drawn(self.prepared, images, clean, seed, self.custom.noise)

    def restore(self, path: Path) -> int:
        """Restore weights and optimizer state; return the number of weight updates so far."""
        return load_last(path, self.models.trained, self.trainer.optimizer, self.group.share_arrays)

    def fit(self, rows: list[Row], verbose: int, *callbacks: keras.callbacks.Callback) -> None:
        """Train the remaining epochs and append them to `rows`.

        Args:
            rows: The history so far.
            verbose: As `fit` of Keras takes it.
            callbacks: Run before those of the run.
        """
        training = self.prepared.config.training
        steps = training.steps_per_epoch
        assert steps is not None  # the preparation filled it in
        judging = [
            self._validation(),
            Recorder(rows, training.patience, self._save),
            *(tensorboard(self.run.tensorboard) if self.group.leads else []),
            *(self.custom.callbacks if self.group.leads else ()),
        ]
        if self.group.distribution is not None:
            judging = [Outside(callback, self.group.outside) for callback in judging]
        with self.group.scope():
            self.trainer.fit(
                BatchStream(self.feed, len(rows) * steps),
                steps_per_epoch=steps,
                initial_epoch=len(rows),
                epochs=training.epochs,
                verbose=verbose,
                shuffle=False,  # the plan shuffles
                callbacks=[*callbacks, self.trainer.meter, ReseedEpoch(training.seed), *judging],
            )

    def _validation(self) -> Validation:
        network = self.models.evaluated
        clean = self.prepared.validation.clean
        setup = validation_setup(self.prepared.config, self.validation, clean, self.custom.loss)
        evaluator = keras.Model(network.inputs, network.outputs)
        evaluator.compile(loss=setup.loss, metrics=setup.metrics)
        size = max(1, _VALIDATION_BATCH_PX // (setup.target.shape[1] * setup.target.shape[2]))
        given = setup.given if len(setup.given) > 1 else setup.given[0]
        return Validation(
            evaluator,
            lambda: self._copy_averages_to(network),
            given,
            setup.target,
            size,
            setup.weights,
            self.group.share,
        )

    def _copy_averages_to(self, twin: keras.Model) -> None:
        """Copy the averaged weights to a twin; the weights themselves without `ema`."""
        self.models.copy_weights_to(twin, averages(self.trainer.optimizer) if self.prepared.config.training.ema else None)

    def _save(self, rows: list[Row], improved: bool) -> None:
        """Write the history, the best model, then the last one; resuming repeats what a kill prevents.

        The best model has averaged weights, the last one raw weights with the averages in its optimizer.
        """
        if not self.group.leads:
            return
        write_history(self.run.history, rows)
        saved = self.models.saved
        if improved:
            self._copy_averages_to(saved)
            save_model(saved, self.run.best_model)
        self.models.copy_weights_to(saved)
        save_with_optimizer(saved, self.trainer.optimizer, self.run.last_model)


def open_session(
    prepared: Prepared, run: RunDirectory, models: Models, custom: Custom | None = None, group: Group | None = None
) -> Session:
    """Connect the models of a run with its data, noise and optimizer; nothing is written.

    Args:
        prepared: The run.
        run: Its directory.
        models: From `build_models`.
        custom: Functions of the program, if any.
        group: The processes and devices that train; None: one process on one device.

    Raises:
        ConfigError: The teacher cannot be used, or a function of the program returned something invalid.
    """
    config, plan = prepared.config, prepared.plan
    custom, group = custom or Custom(), group or Group(Processes())
    noise = custom.noise
    if custom.loss is not None:
        check_loss(custom.loss, config.model.channels or 1)
    training = config.training
    recipes: tuple[NoiseRecipe, ...] = ((),) if config.noise.once else config.noise.recipes
    if config.noise.once:
        plan = _with_noise(plan, prepared, noise)
    batch_noise = None if config.noise.once else _batch_noise(prepared, noise)
    # Determinism disables XLA in TensorFlow, which then may gather 8-bit images on the host.
    on_host = training.deterministic or batch_noise is not None
    plan = dataclasses.replace(plan, part=group.processes.index, parts=group.processes.count)
    feed = HostFeed(plan, batch_noise) if on_host else choose_feed(plan)
    meter = Meter(plan.batch_size, _MEASURE_EVERY if on_gpu() else 1)
    with group.scope():
        layer = NoiseLayer(recipes, config.noise.clip, training.seed)
        if takes_sigma(config.model):
            layer = LeveledNoise(recipes, config.noise.clip, training.seed, plan.images.noisy is not None)
        trainer = build_trainer(models.trained, feed, layer, training, meter, custom.loss, plan.augment)
        optimizer = make_optimizer(config, plan.steps_per_epoch, compute_dtype(training))
        optimizer.build(models.trained.trainable_variables)
        trainer.compile(optimizer, auto_scale_loss=False)
    validation = _drawn(prepared, prepared.validation.input, prepared.validation.clean, VALIDATION_SEED, noise)
    return Session(prepared, run, models, trainer, feed, custom, validation, group)


def choose_feed(plan: BatchPlan) -> Feed:
    """Return a feed that cuts on a GPU, or with numpy, which is as fast on a CPU."""
    return DeviceFeed(plan) if on_gpu() and fits_device(plan) else HostFeed(plan)


def _batch_noise(prepared: Prepared, noise: CustomNoise | None) -> BatchNoise | None:
    """Return the function that adds the noise of the program, seeded for each step."""
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
