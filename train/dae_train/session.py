"""The models, the optimizer and the data of a run in progress."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from dae_runtime.run_directory import RunDirectory

from .batches import BatchPlan
from .callbacks import Judge, Recorder, ReseedEpoch, tensorboard
from .checkpoints import load_last, save_model, save_with_optimizer
from .config import TrainingSettings
from .device import on_gpu
from .history import Row, write_history
from .image_metrics import Psnr, Ssim
from .image_set import FloatArray, ImageSet
from .losses import LOSSES
from .networks import FULL_PRECISION, build_network, start_at_mean
from .noise import NoiseLayer, draw_noisy
from .noise_spec import NO_NOISE
from .preparation import VALIDATION_SEED, Prepared
from .schedule import learning_rate

_VALIDATION_BATCH_PX = 2**18


class BatchStream(keras.utils.PyDataset):  # type: ignore[misc]
    """The batches of a plan from one step on, without end, as Keras wants them."""

    def __init__(self, plan: BatchPlan, first_step: int) -> None:
        super().__init__()
        self.plan, self.first_step = plan, first_step

    @property
    def num_batches(self) -> None:
        """Return None: the stream is endless, so that Keras never restarts it and a batch depends on its step alone."""
        return

    def __getitem__(self, index: int) -> tuple[FloatArray, FloatArray]:
        """Return input and target of a step."""
        return self.plan.batch(self.first_step + index)


@dataclass(frozen=True)
class Session:
    """A run in progress."""

    prepared: Prepared
    run: RunDirectory
    denoiser: keras.Model
    """What is trained; its layers compute in the precision of the run."""
    saved: keras.Model
    """What is written: `denoiser` itself, or its float32 twin."""
    trainer: keras.Model
    """Noise, then `denoiser`."""
    plan: BatchPlan
    validation_noisy: FloatArray

    def restore(self, path: Path) -> int:
        """Take up weights and optimizer state; return the number of weight updates so far."""
        return load_last(path, self.denoiser, self.trainer.optimizer)

    def fit(self, rows: list[Row], verbose: int) -> None:
        """Train the epochs that are missing in `rows`, which grows by them."""
        training = self.prepared.config.training
        steps = self.plan.steps_per_epoch
        self.trainer.fit(
            BatchStream(self.plan, len(rows) * steps),
            steps_per_epoch=steps,
            initial_epoch=len(rows),
            epochs=training.epochs,
            verbose=verbose,
            shuffle=False,  # the plan shuffles
            callbacks=[
                ReseedEpoch(training.seed),
                self._judge(),
                Recorder(rows, training.patience, self._save),
                *tensorboard(self.run.tensorboard),
            ],
        )

    def _judge(self) -> Judge:
        clean = self.prepared.validation_clean
        evaluator = keras.Model(self.denoiser.inputs, self.denoiser.outputs)
        loss = LOSSES[self.prepared.config.training.loss]
        evaluator.compile(loss=loss, metrics=[Psnr(name="psnr"), Ssim(name="ssim")])
        size = max(1, _VALIDATION_BATCH_PX // (clean.shape[1] * clean.shape[2]))
        return Judge(evaluator, self.validation_noisy, clean, size)

    def _save(self, rows: list[Row], improved: bool) -> None:
        """Write history, then the best model, then the last one: whichever of them a kill prevents is made again on resume."""
        if self.saved is not self.denoiser:
            self.saved.set_weights(self.denoiser.get_weights())
        write_history(self.run.history, rows)
        if improved:
            save_model(self.saved, self.run.best_model)
        save_with_optimizer(self.saved, self.trainer.optimizer, self.run.last_model)


def open_session(prepared: Prepared, run: RunDirectory) -> Session:
    """Build the models of a run with fresh weights."""
    config, plan = prepared.config, prepared.plan
    spec, clip = config.noise_spec, config.noise.clip
    dtype = _dtype(config.training)
    denoiser = build_network(config.model, dtype)
    start_at_mean(denoiser, prepared.mean)
    saved = denoiser if dtype == FULL_PRECISION else build_network(config.model)
    if config.noise.once:
        plan, layer_spec = _with_noise(plan, spec, clip), NO_NOISE
    else:
        layer_spec = spec
    trainer = _trainer(denoiser, prepared, NoiseLayer(layer_spec, clip, config.training.seed), dtype)
    noisy = draw_noisy(prepared.validation_input, spec, clip, VALIDATION_SEED)
    return Session(prepared, run, denoiser, saved, trainer, plan, np.asarray(noisy))


def _with_noise(plan: BatchPlan, spec: str, clip: bool) -> BatchPlan:
    images = plan.images
    noisy = draw_noisy(images.clean if images.noisy is None else images.noisy, spec, clip, plan.seed)
    return BatchPlan(ImageSet(images.clean, noisy), plan.patch, plan.batch_size, plan.steps_per_epoch, plan.seed)


def _trainer(denoiser: keras.Model, prepared: Prepared, noise: NoiseLayer, dtype: str) -> keras.Model:
    channels = prepared.config.model.channels
    image = keras.Input((*prepared.patch, channels), batch_size=prepared.plan.batch_size)
    trainer = keras.Model(image, denoiser(noise(image)))
    optimizer: Any = keras.optimizers.Adam(learning_rate(prepared.config.training, prepared.plan.steps_per_epoch))
    if dtype == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)  # float16 gradients underflow without it
    trainer.compile(optimizer, LOSSES[prepared.config.training.loss], auto_scale_loss=False)
    return trainer


def _dtype(training: TrainingSettings) -> str:
    if training.precision == "fp32":
        return FULL_PRECISION
    return "mixed_float16" if on_gpu() else "mixed_bfloat16"
