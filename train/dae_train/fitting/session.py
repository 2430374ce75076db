"""The models, the optimizer and the data of a run in progress."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from dae_runtime.contract import RunDirectory

from ..data.batches import BatchPlan
from ..data.image_set import FloatArray, ImageSet
from ..judging.history import Row, write_history
from ..judging.seeds import VALIDATION_SEED
from ..judging.validation import judging
from ..learning.optimizers import OPTIMIZERS, averages
from ..learning.schedule import learning_rate
from ..networks import FULL_PRECISION, build_network, fake_quantized, start_at_mean, start_from
from ..noise import NoiseLayer, draw_noisy
from ..settings.config import RunConfig
from ..settings.noise import NO_NOISE
from ..settings.training import TrainingSettings
from .callbacks import Judge, Recorder, ReseedEpoch, tensorboard
from .checkpoints import load_last, save_model, save_with_optimizer
from .device import on_gpu
from .input_pipeline import BatchStream, DeviceFeed, Feed, HostFeed, fits_device
from .preparation import Prepared
from .throughput import Meter
from .trainer import Trainer, build_trainer

_VALIDATION_BATCH_PX = 2**18
_MEASURE_EVERY = 8  # steps on a GPU, which must not be kept waiting; a CPU does one thing after the other anyway


@dataclass(frozen=True)
class Session:
    """A run in progress."""

    prepared: Prepared
    run: RunDirectory
    denoiser: keras.Model
    """What is trained; its layers compute in the precision of the run."""
    judged: keras.Model
    """`denoiser` itself, or a float32 twin, which has the average of the weights."""
    saved: keras.Model
    """What is written: `judged` itself, or a twin that rounds nothing."""
    trainer: Trainer
    feed: Feed
    validation_noisy: FloatArray

    def restore(self, path: Path) -> int:
        """Take up weights and optimizer state; return the number of weight updates so far."""
        return load_last(path, self.denoiser, self.trainer.optimizer)

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
        judged = judging(self.prepared.config, self.validation_noisy, self.prepared.validation.clean)
        evaluator = keras.Model(self.judged.inputs, self.judged.outputs)
        evaluator.compile(loss=judged.loss, metrics=judged.metrics)
        size = max(1, _VALIDATION_BATCH_PX // (judged.noisy.shape[1] * judged.noisy.shape[2]))
        return Judge(evaluator, lambda: self._give(self.judged), judged.noisy, judged.target, size)

    def _give(self, twin: keras.Model, averaged: bool = True) -> None:
        """Give a twin the weights as they are, or the average of them if the run keeps one."""
        if twin is self.denoiser:
            return
        twin.set_weights(self.denoiser.get_weights())
        means = averages(self.trainer.optimizer) if averaged and self.prepared.config.training.ema else None
        for variable, mean in zip(twin.trainable_variables, means or [], strict=means is not None):
            variable.assign(keras.ops.copy(mean))  # JAX would make them one and the same buffer

    def _save(self, rows: list[Row], improved: bool) -> None:
        """Write history, then the best model, then the last one: whichever of them a kill prevents is made again on resume.

        The best model has averaged weights, the last one those to continue from; the averages are in its optimizer.
        """
        write_history(self.run.history, rows)
        if improved:
            self._give(self.saved)
            save_model(self.saved, self.run.best_model)
        self._give(self.saved, averaged=False)
        save_with_optimizer(self.saved, self.trainer.optimizer, self.run.last_model)


def open_session(prepared: Prepared, run: RunDirectory, fresh: bool) -> Session:
    """Build the models of a run; nothing is written.

    Args:
        prepared: The run.
        run: Where it will be written.
        fresh: Whether it begins, with random weights or those of the trained network to start from.

    Raises:
        ConfigError: The trained network has another structure.
    """
    config, plan = prepared.config, prepared.plan
    spec, clip = config.noise_spec, config.noise.clip
    dtype = _dtype(config.training)
    denoiser = build_network(config.model, dtype)
    if fresh and config.training.init is not None:
        start_from(config.training.init, denoiser)
    else:
        start_at_mean(denoiser, prepared.mean)
    denoiser, judged, saved = _twins(denoiser, config)
    if config.noise.once:
        plan, layer_spec = _with_noise(plan, spec, clip), NO_NOISE
    else:
        layer_spec = spec
    # Determinism rules out XLA in TensorFlow, without which 8-bit images may be gathered on the host.
    feed = HostFeed(plan) if config.training.deterministic else choose_feed(plan)
    meter = Meter(plan.batch_size, _MEASURE_EVERY if on_gpu() else 1)
    noise = NoiseLayer(layer_spec, clip, config.training.seed)
    trainer = build_trainer(denoiser, feed, noise, config.training, meter)
    optimizer = _optimizer(config, plan.steps_per_epoch, dtype)
    optimizer.build(denoiser.trainable_variables)
    trainer.compile(optimizer, auto_scale_loss=False)
    noisy = draw_noisy(prepared.validation.input, spec, clip, VALIDATION_SEED)
    return Session(prepared, run, denoiser, judged, saved, trainer, feed, np.asarray(noisy))


def _twins(network: keras.Model, config: RunConfig) -> tuple[keras.Model, keras.Model, keras.Model]:
    """Return what is trained, what is judged and what is saved; see `Session`."""
    training = config.training
    denoiser = fake_quantized(network) if training.qat else network
    if not training.ema and _dtype(training) == FULL_PRECISION:
        return denoiser, denoiser, network
    judged = build_network(config.model)
    return (denoiser, fake_quantized(judged), judged) if training.qat else (denoiser, judged, judged)


def choose_feed(plan: BatchPlan) -> Feed:
    """Return a feed that cuts on the device where that is a GPU; a CPU cuts as fast with numpy."""
    return DeviceFeed(plan) if on_gpu() and fits_device(plan) else HostFeed(plan)


def _with_noise(plan: BatchPlan, spec: str, clip: bool) -> BatchPlan:
    images = plan.images
    noisy = draw_noisy(images.clean if images.noisy is None else images.noisy, spec, clip, plan.seed)
    return dataclasses.replace(plan, images=ImageSet(images.clean, noisy))


def _optimizer(config: RunConfig, steps_per_epoch: int, dtype: str) -> Any:
    rate = learning_rate(config.training, steps_per_epoch)
    optimizer: Any = OPTIMIZERS[config.optimizer](rate, config.training.ema)
    if dtype == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)  # float16 gradients underflow without it
    return optimizer


def _dtype(training: TrainingSettings) -> str:
    if training.precision == "fp32":
        return FULL_PRECISION
    return "mixed_float16" if on_gpu() else "mixed_bfloat16"
