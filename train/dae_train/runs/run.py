"""Training runs: started from settings, or resumed from a run directory."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from dae_runtime.contract import RunDirectory
from dae_runtime.system.paths import check_reachable, folders_around, is_same, system_errors

from ..errors import ConfigError, RunError
from ..fitting import device as devices
from ..fitting.custom import Custom
from ..fitting.custom import Loss as CustomLoss
from ..fitting.group import Group, joined
from ..fitting.preparation import Prepared, prepare
from ..judging.history import Row, best_epoch, out_of_patience, read_history, write_history
from ..settings.config import RunConfig, from_mapping, to_mapping
from ..settings.noise import CustomNoise
from ..settings.processes import Processes
from ..settings.trained_file import find_init
from ..settings.training import CONSTANT
from .continuation import continue_from
from .run_files import (
    check_output,
    claim,
    locked,
    read_config,
    remove_unfinished,
    rewrite_description,
    versions,
    write_description,
)

if TYPE_CHECKING:
    import keras

    from ..fitting.session import Session

_LOG = logging.getLogger("dae_train")

_COMPUTING = ("dae-toolkit", "keras", "jax", "jaxlib", "numpy", "pyvips")  # packages on whose versions numbers depend
_REMEDY = "Remove the cause, such as a full disk; a run that had begun keeps its last checkpoint, and --resume continues it."


@dataclass(frozen=True)
class Outcome:
    """Result of a finished run."""

    run: RunDirectory
    epochs: int
    best: Row
    """History row of the best epoch."""
    test: dict[str, Any] | None
    """Metrics on the test images (see `evaluation.evaluate`); None without any."""
    images_per_s: float
    """Images or crops per second of training, in the median epoch."""
    waiting: float
    """Fraction of time in which the device waited for them, in the median epoch."""


def connect(processes: Processes) -> None:
    """Connect this process with others that will train together, before its program uses JAX, such as to build a network.

    `train` and `resume` do so if it has not been done. See docs/training-processes.md.

    Raises:
        ConfigError: The backend is not JAX or is already in use, or process 0 cannot listen on its port.
    """
    with joined(processes):
        pass


@system_errors(RunError, _REMEDY)
def train(
    config: RunConfig,
    output: str | os.PathLike[str],
    *,
    model: keras.Model | None = None,
    noise: CustomNoise | None = None,
    loss: CustomLoss | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    device: str = "auto",
    overwrite: bool = False,
    verbose: int = 0,
    command: str = "",
    processes: Processes | None = None,
) -> Outcome:
    """Train a denoiser into a new run directory.

    Args:
        config: The settings. Those that are None are filled in; `run.toml` in the run directory has them all.
        output: Folder to write; must be empty or not exist.
        model: A custom network in place of `config.model`: a functional model from (N, H, W, C) float32 images to the same
            shape, with 1 or 3 channels and H and W free or equal. It is copied with its weights, unless
            `config.training.init` names others. Custom layers must be registered with
            `keras.saving.register_keras_serializable`, here and in the program that exports.
        noise: A custom function in place of `config.noise.spec`, called as `noise(images, seed)` with a batch, float32
            (N, H, W, C) in [0, 1], and a number from 0 to 2^31 - 1. It returns the noisy batch of the same shape and any
            numeric type, about 0 to 1, and should depend on its arguments only, so that a resumed run sees the same noise.
            It runs in a background thread; `config.noise` determines clipping to [0, 1] and whether it is sampled once.
        loss: A custom function in place of `config.training.loss`, called as `loss(clean, denoised)` with two batches, float32
            tensors (N, H, W, C), about 0 to 1. It returns the loss of each pixel, (N, H, W), or its mean, computed with
            `keras.ops` or the framework in use. It is that of the validation too, by which the best model is chosen.
        callbacks: Keras callbacks, called after those of the run with the figures of each epoch as in `history.csv`.
        device: `auto`, `cpu` or `gpu`: for the whole process.
        overwrite: Whether an existing run may be deleted, unless the new one needs its network.
        verbose: 0 silent, 1 progress bar, 2 one line per epoch.
        command: Command that repeats the run, recorded in `run.toml`.
        processes: The place of this process among several that train together, each called with the same arguments and its
            own `Processes.index`; see docs/training-processes.md. Process 0 alone writes, draws and calls `callbacks`.
            Where another process ends, this one is ended with exit code 4.

    Returns:
        The result, the same in every process; `Outcome.run` has the paths of all files, `run.best_model` that of the trained
        network.

    Raises:
        TrainError: Settings, model, noise, loss, images or folder cannot be used, or the loss is not finite.
        DeviceError: A GPU is requested and not available.
        KeyboardInterrupt: The user stopped it; `resume` continues.
    """
    check_reachable(output, "the run directory")
    folder, custom = Path(output), Custom(model, noise, loss, tuple(callbacks))
    with joined(processes) as group:
        group.check_start(resumes=False)
        if group.leads:
            check_output(folder, overwrite)  # before the slow parts; nothing is deleted until they succeed
        config = custom.begin(config)
        if group.leads:
            _check_kept(config, folder)
        prepared = prepare(config)
        current, described = _open(prepared, RunDirectory(folder), device, True, custom, group)
        with _written(folder, group):
            if group.leads:
                run = claim(folder, overwrite)
                write_description(run, prepared.config, command, {"device": described, **_named(custom), **prepared.record})
            return _train(current, verbose)


@system_errors(RunError, _REMEDY)
def resume(
    output: str | os.PathLike[str],
    *,
    model: keras.Model | None = None,
    noise: CustomNoise | None = None,
    loss: CustomLoss | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    epochs: int | None = None,
    device: str = "auto",
    verbose: int = 0,
    processes: Processes | None = None,
) -> Outcome:
    """Continue an interrupted run as if it had not been interrupted.

    Args:
        output: Its run directory.
        model: The custom network passed to `train`, if any; its weights do not matter.
        noise: The custom noise passed to `train`, if any.
        loss: The custom loss passed to `train`, if any.
        callbacks: As for `train`; they may differ from those of before.
        epochs: New number of epochs, at least those done; only with the `constant` schedule. Recorded in `run.toml`.
        device: `auto`, `cpu` or `gpu`: for the whole process.
        verbose: 0 silent, 1 progress bar, 2 one line per epoch.
        processes: As for `train`; their number may be another than before. Process 0 alone reads the run directory.

    Raises:
        TrainError: There is no run, it is damaged, its images have changed, or it needs a custom model, noise or loss that is
            not given.
        DeviceError: A GPU is requested and not available.
        KeyboardInterrupt: The user stopped it; `resume` continues.
    """
    check_reachable(output, "the run directory")
    run, custom = RunDirectory(Path(output)), Custom(model, noise, loss, tuple(callbacks))
    with joined(processes) as group:
        group.check_start(resumes=True)
        recorded = from_mapping(group.share(lambda: to_mapping(read_config(run))), str(run.description))
        custom.resume(recorded, str(run.root))
        done: int | None = group.share(lambda: _done(run))
        config = _with_epochs(recorded, epochs, done or 0)
        with _written(run.root, group):
            if group.leads:
                remove_unfinished(run)
            prepared = prepare(config, done is None)
            current, _ = _open(prepared, run, device, done is None, custom, group)
            if group.leads and config.training.epochs != recorded.training.epochs:
                rewrite_description(run, prepared.config)
            return _train(current, verbose)


def _written(output: Path, group: Group) -> contextlib.AbstractContextManager[None]:
    """Lock the run directory in the process that writes it."""
    return locked(output) if group.leads else contextlib.nullcontext()


def _done(run: RunDirectory) -> int | None:
    """Return the number of epochs of a run; None before its first checkpoint.

    Raises:
        RunError: The best model is missing.
    """
    if not run.last_model.exists():
        return None
    if not run.best_model.is_file():
        raise RunError(f"{run.best_model}, the best model so far, is missing. Restore it, or start again with --overwrite.")
    return len(read_history(run.history))


def _check_kept(config: RunConfig, output: Path) -> None:
    """Check that the run does not replace a file that it needs: a trained network, or its images."""
    given = [("--init", config.training.init), ("--teacher", config.training.teacher)]
    needed = [(flag, name, find_init(name)) for flag, name in given if name is not None]
    needed += [("DATA", config.data.source, Path(config.data.source))]
    needed += [("--target", name, Path(name)) for name in (config.data.target,) if name is not None]
    needed += [("--val-groups", name, Path(name)) for name in (config.data.validation_groups,) if name is not None]
    for flag, name, path in needed:
        if os.path.lexists(path) and any(is_same(folder, output) for folder in folders_around(path)):
            raise ConfigError(f"{flag} {name} lies in {output}, which the new run would replace. Choose another --output.")


def _with_epochs(config: RunConfig, epochs: int | None, done: int) -> RunConfig:
    """Return the settings of a resumed run; its steps are recorded as epochs."""
    training = dataclasses.replace(config.training, steps=None)
    if epochs in (None, training.epochs):
        return dataclasses.replace(config, training=training)
    if training.schedule != CONSTANT:
        raise ConfigError(
            f"--epochs {epochs}: the {training.schedule} schedule of this run depends on its number of epochs, "
            f"{training.epochs}. Start a new run, or use --schedule constant."
        )
    assert epochs is not None
    if epochs < done:
        raise ConfigError(f"--epochs {epochs}: the run has already completed {done}. Give {done} or more, or start a new run.")
    return dataclasses.replace(config, training=dataclasses.replace(training, epochs=epochs))


def _named(custom: Custom) -> dict[str, Any]:
    """Return the names of what the program provides, as a part of the record."""
    return {"custom": custom.names} if custom.names else {}


def _open(
    prepared: Prepared, run: RunDirectory, device: str, fresh: bool, custom: Custom, group: Group
) -> tuple[Session, str]:
    """Start the framework and build what trains; return it, and the name of the device."""
    training = prepared.config.training
    group.agree(_facts(prepared, custom))
    described = devices.start(device, training.seed, training.deterministic)
    group.distribute(prepared.plan.batch_size)
    described += group.words
    from ..fitting.memory import check_step
    from ..fitting.models import build_models  # needs the started framework
    from ..fitting.session import open_session

    if not devices.on_gpu():
        check_step(prepared.config.model, prepared.config.training, prepared.plan.batch_size, prepared.patch)
    data, noise = prepared.config.data, prepared.config.noise_spec
    _LOG.info("training on %s; data: %s, noise: %s", described, " and ".join(filter(None, (data.source, data.target))), noise)
    models = build_models(prepared.config, fresh, prepared.mean, custom.model, group)
    return open_session(prepared, run, models, custom, group), described


def _facts(prepared: Prepared, custom: Custom) -> dict[str, Any]:
    """Return what processes that train together must have in common: all but where their files lie, and who calls back."""
    tables = to_mapping(prepared.config)
    for table, names in (("data", ("source", "target", "validation_groups")), ("training", ("init", "teacher"))):
        for name in names:
            tables[table].pop(name, None)  # their digests are compared
    named = {name: words for name, words in custom.names.items() if name != "callbacks"}
    numbers = {name: number for name, number in versions().items() if name in _COMPUTING}
    return {**tables, "custom": named, "versions": numbers}


def _train(current: Session, verbose: int) -> Outcome:
    """Train the rest of a run."""
    from . import results

    run, training, group = current.run, current.prepared.config.training, current.group
    begun = group.share(run.last_model.exists)
    rows: list[Row] = continue_from(run, current.restore, group.share) if begun else []
    if group.leads:
        write_history(run.history, rows)
        results.write_calibration(run, current)
    if len(rows) < training.epochs and not out_of_patience(rows, training.patience):
        current.fit(rows, verbose if group.leads else 0)
    test = group.share(lambda: results.write_results(run, current, rows))
    speed, waiting = (median(row[name] for row in rows) for name in ("images_per_s", "waiting"))
    return Outcome(run, len(rows), best_epoch(rows), test, speed, waiting)
