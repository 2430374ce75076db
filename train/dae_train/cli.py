"""The command `dae-train`."""

from __future__ import annotations

import logging
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from dae_runtime import __version__
from dae_runtime.contract import RunDirectory, noise_forms
from dae_runtime.errors import InputError
from dae_runtime.system.command import EXIT_INTERRUPTED, PrintableFormatter, echo, require, run_command
from dae_runtime.system.interrupt import interrupted
from dae_runtime.system.paths import check_reachable

from . import runs
from .data.sources import check_source
from .errors import ConfigError, DataError
from .fitting.custom import Custom
from .fitting.device import DEVICES, backend
from .fitting.group import check_backend
from .noise import check_request
from .runs import Outcome, read_config
from .settings.config import GENERAL_PRESET, RunConfig
from .settings.flags import check_same, command_line, default_output, merge, with_flags
from .settings.networks import PRESETS
from .settings.noise import FitRequest
from .settings.processes import Processes
from .settings.trained_file import find_init
from .settings.training import BY_LEVEL, LEARNING_RATES, LOSSES, MSE, PRECISIONS, SCHEDULES, SUPERVISIONS, TrainingSettings

_DEFAULT = TrainingSettings()
_RATES = ", ".join(f"{rate:g} ({name})" for name, rate in LEARNING_RATES.items())

EPILOG = f"""
\b
NOISE is one of
  {noise_forms().replace(", ", chr(10) + "  ")}
\b
or several joined by +, applied in that order; or several of these joined by the word or, each for
an equal share of the images. An amount may be a fraction (25/255) or a
range (0.02-0.2), sampled for each image. fit:FOLDER estimates the noise of the images in
a folder; fit:0.7-1.4:FOLDER scales its standard deviation by 0.7 to 1.4.

\b
The recipe of the original network, with fixed noise and a constant learning rate:
  dae-train mnist --preset v2 --noise gaussian:0.5 --noise-once --loss bce \\
    --optimizer adam --lr 5e-4 --schedule constant --batch-size 128 --epochs 100

The figures of each epoch are in RUN/history.csv, and for TensorBoard in RUN/tensorboard (TensorFlow only);
examples/track_mlflow.py and examples/track_wandb.py send them to MLflow and Weights & Biases.

KERAS_BACKEND selects the framework: tensorflow (default) or jax.
"""


@click.command(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.argument("data", required=False)
@click.option("-o", "--output", metavar="RUN", help="Run directory to write.  [default: runs/DATA-PRESET]")
@click.option("--config", metavar="FILE.toml", help="Settings file; other flags override it, --preset replaces its network.")
@click.option(
    "--target", metavar="DIR", help="Folder of clean images; DATA is the folder of noisy images with the same relative paths."
)
@click.option("--preset", help=f"Network: {', '.join(PRESETS)}.  [default: {GENERAL_PRESET}; v2 for mnist]")
@click.option("--channels", type=int, help="1 (gray) or 3 (RGB).  [default: those of DATA]")
@click.option("--z-dim", type=int, help="Latent dimension of v1.  [default: 2]")
@click.option("--dropout", type=float, help="Dropout rate after each layer.  [default: 0]")
@click.option("--batch-norm/--no-batch-norm", default=None, help="Batch normalization after each layer.")
@click.option(
    "--sigma-input/--no-sigma-input",
    default=None,
    help="Give a residual network (edge-...) the noise level of each image, as a second input.  [default: no]",
)
@click.option("--noise", metavar="NOISE", help="Noise model, see below.  [default: depends on DATA, e.g. gaussian:0.02-0.2]")
@click.option("--clip/--no-clip", default=None, help="Clip noisy values to [0, 1].  [default: clip]")
@click.option("--noise-once/--noise-fresh", default=None, help="Sample the noise once, or for each batch.  [default: fresh]")
@click.option(
    "--init",
    metavar="NAME|PATH",
    help="Start from the weights of a bundled network, a .keras file or a run; also sets the default of --preset. A wider "
    "network of the same layers starts with the same output (--init gray --preset edge-l).",
)
@click.option(
    "--supervision",
    help=f"Training targets: {', '.join(SUPERVISIONS)}. noise2noise: DATA and --target are noisy shots of the same scenes. "
    "noise2void: DATA are single noisy images.  [default: clean]",
)
@click.option("--loss", help=f"{', '.join(LOSSES)}.  [default: {MSE}; {BY_LEVEL} with --sigma-input]")
@click.option("--epochs", type=int, help=f"Number of epochs.  [default: {_DEFAULT.epochs}]")
@click.option("--steps", type=int, help="Weight updates of the whole run, instead of --epochs.")
@click.option(
    "--steps-per-epoch",
    type=int,
    help="Batches per epoch; with --steps, at most.  [default: one pass over whole images; 500 for crops]",
)
@click.option("--batch-size", type=int, help="Images per batch.  [default: 64 for whole images, 16 for crops]")
@click.option("--optimizer", help=f"{', '.join(LEARNING_RATES)}.  [default: muon for U-shapes, else muon-plain]")
@click.option("--lr", type=float, help=f"Peak learning rate.  [default: {_RATES}; a quarter of it with --init]")
@click.option("--schedule", help=f"{', '.join(SCHEDULES)}.  [default: {_DEFAULT.schedule}]")
@click.option("--warmup-steps", type=int, help="Steps of linear warmup.  [default: 200, at most 10 % of all steps]")
@click.option("--patch-size", type=int, help="Crop size in pixels.  [default: whole images up to 64 pixels, else 64]")
@click.option("--augment/--no-augment", default=None, help="Random flips and 90-degree rotations.  [default: for crops only]")
@click.option("--limit", type=int, help="Use only the first N images.")
@click.option("--val-split", type=float, help="Fraction of the images held out for validation.  [default: 0.05]")
@click.option(
    "--val-groups",
    metavar="FILE.json",
    help='Groups of related images, [["page1-a", "page1-b"], ["page2-a", "page2-b"]]; a group is never split.',
)
@click.option("--seed", type=int, help=f"Random seed.  [default: {_DEFAULT.seed}]")
@click.option("--deterministic/--no-deterministic", default=None, help="Reproducible weights on one machine; slower.")
@click.option("--precision", help=f"{', '.join(PRECISIONS)} (16-bit mixed precision).  [default: {_DEFAULT.precision}]")
@click.option(
    "--qat/--no-qat",
    default=None,
    help="Quantization-aware training: fine-tune with INT8 rounding, with --init.  [default: no]",
)
@click.option(
    "--teacher",
    metavar="NAME|PATH",
    help="Distill from this network too; accepts the same names as --init. With --augment it sees images turned.",
)
@click.option(
    "--teacher-weight", type=float, help=f"Weight of the teacher in the loss, 0 to 1.  [default: {_DEFAULT.teacher_weight:g}]"
)
@click.option(
    "--ema",
    type=float,
    help=f"Decay of the weight average that is validated and saved; 0: off.  [default: {_DEFAULT.ema:g}]",
)
@click.option("--patience", type=int, help="Stop after N epochs without a lower validation loss; 0: never.  [default: 0]")
@click.option("--device", default="auto", show_default=True, help=f"{', '.join(DEVICES)}.")
@click.option(
    "--processes", type=int, help="Number of processes that train together, on any machines; needs KERAS_BACKEND=jax."
)
@click.option("--process-id", type=int, help="Number of this one of them, from 0; process 0 alone writes RUN.")
@click.option("--coordinator", metavar="HOST:PORT", help="Address of process 0, with a free port, for all of them.")
@click.option("--resume", is_flag=True, help="Continue the run in the folder of --output, with the settings of its run.toml.")
@click.option("--overwrite", is_flag=True, help="Replace the run in RUN.")
@click.version_option(__version__, prog_name="dae-train")
def command(
    output: str | None,
    config: str | None,
    device: str,
    processes: int | None,
    process_id: int | None,
    coordinator: str | None,
    resume: bool,
    overwrite: bool,
    **given: Any,
) -> int:
    """Train a denoiser on DATA: synthetic (default, needs no download), mnist, fashion_mnist, a folder of images, or an
    .npz or .npy file.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PrintableFormatter("%(message)s"))
    logging.basicConfig(handlers=[handler])
    logging.getLogger("dae_train").setLevel(logging.INFO)
    require("dae-train", "train", "keras", "matplotlib", "tomli_w")
    backend()
    if device not in DEVICES:
        raise click.UsageError(f"--device must be one of {', '.join(DEVICES)}, not {device!r}.")
    try:
        place = _place(processes, process_id, coordinator)
        if resume:
            run = _resumed(output, config, overwrite, given, reads=place.index == 0)
        else:
            run, settings = _new(output, config, given)
    except (ConfigError, DataError, InputError) as error:
        raise click.UsageError(with_flags(str(error))) from error
    before = None if resume else _described_ns(run)
    shared: dict[str, Any] = {"device": device, "verbose": _verbosity(), "processes": place}
    try:
        if resume:
            outcome = runs.resume(run.root, epochs=given["epochs"], **shared)
        else:
            line = command_line(settings, given, config)
            outcome = runs.train(settings, run.root, overwrite=overwrite, command=line, **shared)
    except BaseException as error:
        if place.index or (not interrupted() and not isinstance(error, KeyboardInterrupt)):
            raise
        return _interrupted(run, before)
    if place.index == 0:
        _report(outcome)
    return 0


def main() -> None:
    """Run `dae-train` on the command line's arguments."""
    run_command(command)


def _new(output: str | None, config: str | None, given: dict[str, Any]) -> tuple[RunDirectory, RunConfig]:
    _check_paths(output, config, given)
    settings = merge(config, given)
    check_source(settings.data)
    Custom().check(settings)
    if isinstance(settings.noise.spec, FitRequest):
        check_request(settings.noise.spec)
    for name in (settings.training.init, settings.training.teacher):
        if name is not None:
            find_init(name)
    return RunDirectory(Path(output) if output else default_output(settings)), settings


def _resumed(output: str | None, config: str | None, overwrite: bool, given: dict[str, Any], reads: bool) -> RunDirectory:
    """Return the run directory, checked against the command line if this process reads it."""
    for flag, present in (("--config", config), ("--overwrite", overwrite)):
        if present:
            raise ConfigError(f"--resume uses the settings of the run. Omit {flag}.")
    _check_paths(output, config, given)
    run = RunDirectory(Path(output) if output else default_output(merge(None, given)))
    if reads:
        settings = read_config(run)
        Custom().check(settings, str(run.root))
        check_same(settings, given)
    return run


def _place(count: int | None, index: int | None, coordinator: str | None) -> Processes:
    """Return the place of this process among those that train together."""
    if count is None:
        if index is not None or coordinator is not None:
            raise ConfigError("--process-id and --coordinator belong to --processes, the number of processes. Give it too.")
        return Processes()
    if count > 1 and index is None:
        raise ConfigError(f"--processes {count} needs --process-id, the number of this process from 0 to {count - 1}.")
    place = Processes(count, index or 0, coordinator)
    check_backend(place)
    return place


def _check_paths(output: str | None, config: str | None, given: dict[str, Any]) -> None:
    """Check that each path of the command line is one, and that it can be reached."""
    paths = {"--output": output, "--config": config, "DATA": given.get("data")}
    paths |= {f"--{name.replace('_', '-')}": given.get(name) for name in ("target", "init", "teacher", "val_groups")}
    for what, path in paths.items():
        if path is not None:
            check_reachable(path, what)


def _verbosity() -> int:
    return 1 if sys.stdout.isatty() else 2


def _report(outcome: Outcome) -> None:
    run, best, test = outcome.run, outcome.best, outcome.test
    echo(f"validation: {_validation_text(best)}  (best of {outcome.epochs} epochs: {best['epoch']:.0f})")
    if test:
        echo(
            f"test: bce {test['bce']:.4f}  mse {test['mse']:.4f}  psnr {test['psnr_db']:.2f} dB (from mean mse)  "
            f"ssim {test['ssim']:.4f}  noisy psnr {test['noisy_psnr_db']:.2f} dB  images {test['images']}"
        )
    echo(f"speed: {outcome.images_per_s:,.0f} images/s, {outcome.waiting:.0%} of the time waiting for data")
    pictures = [path.name for path in (run.curves, run.samples, run.latent) if path.exists()]
    echo(f"run directory: {run.root}  (see {', '.join(pictures)})")
    echo(f"next: dae-export {shlex.quote(str(run.root))}")


def _validation_text(row: dict[str, float]) -> str:
    if "val_psnr" in row:
        return f"psnr {row['val_psnr']:.2f} dB  ssim {row['val_ssim']:.4f}"
    if "val_est_psnr" in row:
        return f"estimated psnr {row['val_est_psnr']:.2f} dB"
    return f"loss {row['val_loss']:.6f} on masked pixels, noise included"


def _described_ns(run: RunDirectory) -> int | None:
    """Return the modification time of the run's description; None without one. A new run writes its own."""
    return run.description.stat().st_mtime_ns if run.description.is_file() else None


def _interrupted(run: RunDirectory, before: int | None) -> int:
    """Print how to continue; `before` is `_described_ns` at the start, None for a resumed run."""
    now, name = _described_ns(run), shlex.quote(str(run.root))
    if now is None:
        echo("interrupted before anything was written", err=True)
    elif now == before:
        echo(f"interrupted before anything was written; the run in {name} is untouched", err=True)
    else:
        echo(f"interrupted; continue with: dae-train --resume -o {name}", err=True)
    return EXIT_INTERRUPTED
