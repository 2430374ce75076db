"""Preparation of a run without a framework: the images, and the settings that depend on them."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..data.batches import BatchPlan, plan_batches
from ..data.image_set import FloatArray, ImageSet, to_unit
from ..data.patches import Size, choose_patch, draw_patches, padded
from ..data.sources import load_dataset
from ..noise import resolve
from ..settings.config import RunConfig
from ..settings.networks import takes_sigma
from ..settings.noise import VALIDATION_SEED, FitRequest
from ..settings.trained_file import check_channels, file_digest
from ..settings.training import TrainingSettings
from .memory import check_crops

_LOG = logging.getLogger("dae_train")

VALIDATION_CROPS = 64
"""Least number of validation crops."""


@dataclass(frozen=True)
class Pieces:
    """Validation images, or crops of them."""

    input: FloatArray
    """(N, H, W, C) in [0, 1], before noise is added."""
    clean: FloatArray
    """Of the same shape."""
    images: npt.NDArray[np.int64]
    """(N,) image index of each."""


@dataclass(frozen=True)
class Prepared:
    """A run ready for training."""

    config: RunConfig
    """Settings with all defaults that depend on the data filled in."""
    patch: Size
    plan: BatchPlan
    validation: Pieces
    validation_labels: FloatArray | None
    """(N,) classes of the validation pieces, if the data has labels."""
    calibration: Pieces
    """For INT8: the first two thirds calibrate, the rest tests on other images if there are several."""
    test: ImageSet | None
    mean: float
    """Mean value of the clean training images, in [0, 1]."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """Measured facts, for people."""


def prepare(config: RunConfig, fresh: bool = True) -> Prepared:
    """Read the images and fill in the settings that depend on them.

    Args:
        config: The settings.
        fresh: Whether the run starts and needs the network of `training.init`.

    Raises:
        DataError: The images are missing or unreadable, or do not fit the network.
        ConfigError: A trained network that the run needs is missing, unreadable, or for other images.
    """
    config = dataclasses.replace(config, training=_with_digests(config.training, fresh))
    config, record = _with_noise(config)
    training = config.training
    dataset = load_dataset(config.data, config.model.channels, training.seed)
    patch = choose_patch(config.data.patch_px, config.model, dataset.train.sizes | dataset.validation.sizes)
    check_crops(_count(dataset.validation, patch), patch, dataset.train.channels)
    train, small = padded(dataset.train, patch)
    if small:
        _LOG.warning("%d images are smaller than the patch of %dx%d and are padded by reflection", small, *patch[::-1])
    plan = plan_batches(
        train,
        patch,
        training.batch_size,
        training.steps_per_epoch,
        training.seed,
        config.data.augment,
        training.steps,
    )
    for name, flag in ((training.init if fresh else None, "--init"), (training.teacher, "--teacher")):
        if name is not None:
            check_channels(name, train.channels, flag)
    if plan.batch_size < (training.batch_size or 0):
        _LOG.warning("batch size %d instead of %d: there are fewer training images", plan.batch_size, training.batch_size)
    held_out = padded(dataset.validation, patch)[0]
    validation = _pieces(held_out, patch, _cycle(len(held_out), _count(held_out, patch)))
    labels = None if held_out.labels is None else held_out.labels[validation.images]
    filled = _filled(config, train.channels, patch, train.sizes == {patch}, plan, dataset.sha256)
    calibration = _pieces(held_out, patch, _calibration_indices(len(held_out), _count(held_out, patch)))
    return Prepared(filled, patch, plan, validation, labels, calibration, dataset.test, _mean(train), record)


def _with_noise(config: RunConfig) -> tuple[RunConfig, dict[str, Any]]:
    """Return the settings with a measured noise if requested, and a record of the measurement."""
    if not isinstance(config.noise.spec, FitRequest):
        return config, {}
    spec, record = resolve(config.noise.spec, leveled=takes_sigma(config.model))
    return dataclasses.replace(config, noise=dataclasses.replace(config.noise, spec=spec)), {"noise_fit": record}


def _with_digests(training: TrainingSettings, fresh: bool) -> TrainingSettings:
    init, teacher = training.init_sha256, training.teacher_sha256
    if training.init is not None and fresh:
        init = file_digest(training.init, init, "--init")
    if training.teacher is not None:
        teacher = file_digest(training.teacher, teacher, "--teacher")
    return dataclasses.replace(training, init_sha256=init, teacher_sha256=teacher)


def _filled(config: RunConfig, channels: int, patch: Size, whole: bool, plan: BatchPlan, sha256: str) -> RunConfig:
    """Fill in the settings that depend on the data; the patch size only if it does not follow from images or network."""
    fixed = whole or config.model.image_px is not None
    return dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, channels=channels),
        noise=config.noise if config.noise.spec is not None else dataclasses.replace(config.noise, spec=config.noise_spec),
        data=dataclasses.replace(
            config.data,
            patch_px=config.data.patch_px if fixed else patch[0],
            sha256=sha256,
            augment=plan.augment,
        ),
        training=_with_lengths(dataclasses.replace(config.training, loss=config.loss, optimizer=config.optimizer), plan),
    )


def _with_lengths(training: TrainingSettings, plan: BatchPlan) -> TrainingSettings:
    epochs = training.epochs if training.steps is None else math.ceil(training.steps / plan.steps_per_epoch)
    return dataclasses.replace(
        training,
        epochs=epochs,
        steps_per_epoch=plan.steps_per_epoch,
        batch_size=training.batch_size or plan.batch_size,
        learning_rate=training.rate,
    )


def _count(images: ImageSet, patch: Size) -> int:
    """Return the number of validation pieces: one for each whole image."""
    return len(images) if images.sizes == {patch} else max(VALIDATION_CROPS, len(images))


def _pieces(images: ImageSet, patch: Size, indices: npt.NDArray[np.int64]) -> Pieces:
    return Pieces(*draw_patches(images, indices.tolist(), patch, np.random.default_rng(VALIDATION_SEED)), indices)


def _cycle(images: int, count: int) -> npt.NDArray[np.int64]:
    """Return image indices of pieces, (count,): all images in turn."""
    return np.resize(np.arange(images), count)


def _calibration_indices(images: int, count: int) -> npt.NDArray[np.int64]:
    """Return image indices of pieces, (count,): two thirds from two thirds of the images, the rest from the others."""
    if images < 2:
        return _cycle(images, count)
    part, pieces = images * 2 // 3, count * 2 // 3
    return np.concatenate([_cycle(part, pieces), part + _cycle(images - part, count - pieces)])


def _mean(images: ImageSet) -> float:
    """Return the mean over image means: crops come from large and small images alike."""
    return float(np.mean([to_unit(image).mean() for image in images.clean]))
