"""Runs on an accelerator: those of `dae-train`, with their directory, ended by the clock."""

from __future__ import annotations

import dataclasses
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import keras

from dae_runtime.contract import RunDirectory
from dae_train.errors import ConfigError
from dae_train.fitting import device as devices
from dae_train.fitting.models import build_models
from dae_train.fitting.preparation import prepare
from dae_train.fitting.session import open_session
from dae_train.judging.history import Row, best_epoch, write_history
from dae_train.runs import claim, continue_from, read_config, rewrite_description, write_description
from dae_train.settings.config import RunConfig

from .clock import Clock, by_time
from .scan import in_calls

_LOG = logging.getLogger("dae_train")


@dataclass(frozen=True)
class Session:
    """What a call of `train` did."""

    rows: list[Row]
    """The history of the run."""
    crops_per_s: float
    """In the median epoch."""

    @property
    def best(self) -> Row:
        """The epoch whose network is in `model.keras`."""
        return best_epoch(self.rows)


def train(
    config: RunConfig | None,
    output: Path,
    seconds: float,
    steps_per_call: int,
    anneal: bool = False,
    overwrite: bool = False,
) -> Session:
    """Train until the time is over, or the steps of the settings are done; the run directory is one of `dae-train`.

    Args:
        config: The settings; None to continue the run.
        output: The run directory.
        seconds: Wall-clock time of this call, with compilation, validation and saving.
        steps_per_call: Most steps in one call of the device.
        anneal: Let the learning rate fall by the time of this call instead of by steps.
        overwrite: Whether a new run may replace one.

    Raises:
        TrainError: As `dae_train.train`.
        ConfigError: Keras runs on another backend than JAX, or there is no time for an epoch.
    """
    end_s = time.monotonic() + seconds
    if keras.config.backend() != "jax":
        raise ConfigError(
            f"several steps per call need Keras on JAX; it runs on {keras.config.backend()}. Set KERAS_BACKEND=jax."
        )
    run, resumed = RunDirectory(output), config is None
    settings = read_config(run) if config is None else config
    rate = None
    if anneal:
        training, rate = by_time(settings.training)
        settings = dataclasses.replace(settings, training=training)
    fresh = not (resumed and run.last_model.exists())
    prepared = prepare(settings, fresh)
    described = devices.start("auto", settings.training.seed, settings.training.deterministic)
    _LOG.info("training on %s", described)
    models = build_models(prepared.config, fresh, prepared.mean)
    session = open_session(prepared, run, models)
    if not resumed:
        claim(output, overwrite)
        write_description(run, prepared.config, "", {"device": described, **prepared.record})
    rows = continue_from(run, session.restore) if not fresh else []
    write_history(run.history, rows)
    in_calls(session, steps_per_call).fit(rows, 2, Clock(end_s, rate))
    if anneal:  # it may be continued, or finished by dae-train --resume, which then only judges and draws
        done = dataclasses.replace(prepared.config.training, epochs=len(rows))
        rewrite_description(run, dataclasses.replace(prepared.config, training=done))
    return Session(rows, median(row["images_per_s"] for row in rows))
