"""Training: from settings to a run directory, and from an interrupted run directory to a finished one."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from dae_runtime.contract import RunDirectory

from ..errors import ConfigError, RunError
from ..fitting import device as devices
from ..fitting.preparation import Prepared, prepare
from ..judging.history import Row, best_epoch, out_of_patience, read_history, write_history
from ..settings.config import RunConfig
from ..settings.trained_file import find_init
from ..settings.training import CONSTANT
from .run_files import check_output, claim, read_config, remove_unfinished, rewrite_description, write_description

if TYPE_CHECKING:
    from ..fitting.session import Session

_LOG = logging.getLogger("dae_train")


@dataclass(frozen=True)
class Outcome:
    """What a finished run came to."""

    run: RunDirectory
    epochs: int
    best: Row
    """History row of the epoch whose model was kept."""
    test: dict[str, Any] | None
    """Figures on the test images (see `evaluation.figures`); None if the data have none."""
    images_per_s: float
    """Images or crops trained on in a second, in the median epoch."""
    waiting: float
    """Share of the time in which the device waited for them, in the median epoch."""


def train(
    config: RunConfig, output: Path, *, device: str = "auto", overwrite: bool = False, verbose: int = 0, command: str = ""
) -> Outcome:
    """Train a denoiser into a new run directory.

    Args:
        config: What to do.
        output: Folder to write; must not exist or be empty.
        device: `auto`, `cpu` or `gpu`; see `device.start`.
        overwrite: Whether a run that is there may be deleted, unless the new one needs its network.
        verbose: 0 silent, 1 progress bar, 2 one line per epoch.
        command: What to write into `run.toml` as the command that repeats the run.

    Raises:
        TrainError: Settings, images or folder cannot be used, or the loss became infinite.
        DeviceError: A GPU was demanded and there is none.
        KeyboardInterrupt: The user stopped it; `resume` continues.
    """
    check_output(output, overwrite)  # before the slow parts; nothing is deleted until all of them have succeeded
    _check_kept(config, output)
    prepared = prepare(config)
    described = devices.start(device, config.training.seed, config.training.deterministic)
    current = _open(prepared, RunDirectory(output), described, fresh=True)
    run = claim(output, overwrite)
    write_description(run, prepared.config, command, {"device": described, **prepared.record})
    return _train(current, verbose)


def resume(output: Path, *, epochs: int | None = None, device: str = "auto", verbose: int = 0) -> Outcome:
    """Continue an interrupted run as if it had not been interrupted.

    Args:
        output: Its run directory.
        epochs: Another number of epochs than the run was started with, at least as many as are done; only with the `constant`
            schedule. It becomes part of the run's description.
        device: `auto`, `cpu` or `gpu`; see `device.start`.
        verbose: 0 silent, 1 progress bar, 2 one line per epoch.

    Raises:
        TrainError: There is no run, it is damaged, or its images have changed.
        DeviceError: A GPU was demanded and there is none.
        KeyboardInterrupt: The user stopped it; `resume` continues.
    """
    run = RunDirectory(output)
    recorded = read_config(run)
    fresh = not run.last_model.exists()
    if not fresh and not run.best_model.is_file():
        raise RunError(f"{run.best_model}, the best model so far, is gone. Restore it, or start again with --overwrite.")
    config = _with_epochs(recorded, epochs, 0 if fresh else len(read_history(run.history)))
    remove_unfinished(run)
    prepared = prepare(config, fresh)
    described = devices.start(device, config.training.seed, config.training.deterministic)
    current = _open(prepared, run, described, fresh)
    if config.training.epochs != recorded.training.epochs:
        rewrite_description(run, prepared.config)
    return _train(current, verbose)


def _check_kept(config: RunConfig, output: Path) -> None:
    """Check that a trained network that a run needs is not in the folder that the run will replace."""
    for flag, name in (("--init", config.training.init), ("--teacher", config.training.teacher)):
        if name is not None and find_init(name).resolve().is_relative_to(output.resolve()):
            raise ConfigError(f"{flag} {name} lies in {output}, which the new run would replace. Choose another --output.")


def _with_epochs(config: RunConfig, epochs: int | None, done: int) -> RunConfig:
    """Return the settings of a run to continue; what its steps came to was recorded as epochs."""
    training = dataclasses.replace(config.training, steps=None)
    if epochs in (None, training.epochs):
        return dataclasses.replace(config, training=training)
    if training.schedule != CONSTANT:
        raise ConfigError(
            f"--epochs {epochs}: the {training.schedule} schedule of this run ends after {training.epochs} epochs, and with "
            "another number it would have gone another way from the start. Start a new run, or use --schedule constant."
        )
    assert epochs is not None
    if epochs < done:
        raise ConfigError(
            f"--epochs {epochs}: the run has done {done} epochs already, and none of them can be taken back. "
            f"Give {done} or more, or start a new run."
        )
    return dataclasses.replace(config, training=dataclasses.replace(training, epochs=epochs))


def _open(prepared: Prepared, run: RunDirectory, described: str, fresh: bool) -> Session:
    from ..fitting.session import open_session  # needs the framework, which has been started

    _LOG.info("training on %s", described)
    return open_session(prepared, run, fresh)


def _train(current: Session, verbose: int) -> Outcome:
    """Do what is left of a run."""
    from . import results

    run, training = current.run, current.prepared.config.training
    rows = continue_from(run, current.restore) if run.last_model.exists() else []
    write_history(run.history, rows)
    results.write_calibration(run, current)
    if len(rows) < training.epochs and not out_of_patience(rows, training.patience):
        current.fit(rows, verbose)
    test = results.write_results(run, current, rows)
    speed, waiting = (median(row[name] for row in rows) for name in ("images_per_s", "waiting"))
    return Outcome(run, len(rows), best_epoch(rows), test, speed, waiting)


def continue_from(run: RunDirectory, restore: Callable[[Path], int]) -> list[Row]:
    """Restore the last model of a run and return the history up to it.

    The history is written before the model: a kill between the two leaves a row too many, which will be trained again.

    Raises:
        RunError: Model and history do not belong together.
    """
    step = restore(run.last_model)
    rows = read_history(run.history)
    kept = [row for row in rows if row["step"] <= step]
    if not kept or kept[-1]["step"] != step:
        raise RunError(
            f"{run.last_model} is at step {step}, at which {run.history} has no epoch. Start the run again with --overwrite."
        )
    _LOG.info("continuing after epoch %d", len(kept))
    return kept
