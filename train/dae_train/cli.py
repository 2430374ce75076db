"""The command `dae-train`."""

from __future__ import annotations

import logging
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from dae_runtime.command import EXIT_INTERRUPTED, require, run_command
from dae_runtime.contract import RunDirectory, noise_forms

from . import runs
from .data.sources import check_source
from .errors import ConfigError, DataError
from .fitting.custom import Custom
from .fitting.device import DEVICES, backend
from .noise import check_request
from .runs import Outcome, read_config
from .settings.config import GENERAL_PRESET, RunConfig
from .settings.flags import check_same, command_line, default_output, merge
from .settings.networks import PRESETS
from .settings.noise import FitRequest
from .settings.trained_file import find_init
from .settings.training import LEARNING_RATES, LOSSES, PRECISIONS, SCHEDULES, SUPERVISIONS, TrainingSettings

_DEFAULT = TrainingSettings()
_RATES = ", ".join(f"{rate:g} ({name})" for name, rate in LEARNING_RATES.items())

EPILOG = f"""
\b
NOISE is one of
  {noise_forms().replace(", ", chr(10) + "  ")}
\b
or several joined by +, applied in that order. An amount may be a fraction (25/255)
or a range that is drawn from for each image (0.02-0.2). fit:FOLDER measures the noise
of the images in a folder, fit:0.7-1.4:FOLDER makes a range of strengths of it.

\b
The recipe of the original network, noise drawn once and a constant rate:
  dae-train mnist --preset v2 --noise gaussian:0.5 --noise-once --loss bce \\
    --optimizer adam --lr 5e-4 --schedule constant --batch-size 128 --epochs 100

KERAS_BACKEND chooses the framework: tensorflow (default) or jax.
"""


@click.command(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.argument("data", required=False)
@click.option("-o", "--output", metavar="RUN", help="Run directory to write.  [default: runs/DATA-PRESET]")
@click.option(
    "--config", metavar="FILE.toml", help="Settings to start from; other flags override them, --preset the whole network."
)
@click.option(
    "--target", metavar="DIR", help="Clean images; DATA is then the folder of noisy ones with the same relative paths."
)
@click.option("--preset", help=f"Network: {', '.join(PRESETS)}.  [default: {GENERAL_PRESET}; v2 for mnist]")
@click.option("--channels", type=int, help="1 (gray) or 3 (RGB).  [default: those of the data]")
@click.option("--z-dim", type=int, help="Length of the latent vector of v1.  [default: 2]")
@click.option("--dropout", type=float, help="Dropout rate after each layer.  [default: 0]")
@click.option("--batch-norm/--no-batch-norm", default=None, help="Batch normalization after each layer.")
@click.option(
    "--sigma-input/--no-sigma-input",
    default=None,
    help="Give a residual network (edge-...) the noise level of each image, as a second input.  [default: no]",
)
@click.option("--noise", metavar="NOISE", help="See below.  [default: by the data, as gaussian:0.02-0.2]")
@click.option("--clip/--no-clip", default=None, help="Clip noisy values to [0, 1].  [default: clip]")
@click.option("--noise-once/--noise-fresh", default=None, help="Draw the noise once, or for each batch.  [default: fresh]")
@click.option(
    "--init",
    metavar="NAME|PATH",
    help="Start from the weights of a bundled network, a .keras file or a run; it also decides the default of --preset. A "
    "wider network of the same layers takes them over and makes the same images at first (--init gray --preset edge-l).",
)
@click.option(
    "--supervision",
    help=f"What to learn from: {', '.join(SUPERVISIONS)}. noise2noise: DATA and --target are two noisy shots of the same "
    "scenes. noise2void: DATA are single noisy images.  [default: clean]",
)
@click.option("--loss", help=f"{', '.join(LOSSES)}.  [default: {_DEFAULT.loss}]")
@click.option("--epochs", type=int, help=f"[default: {_DEFAULT.epochs}]")
@click.option("--steps", type=int, help="Weight updates of the whole run, instead of --epochs.")
@click.option(
    "--steps-per-epoch", type=int, help="Batches in an epoch; with --steps at most.  [default: one pass; 500 of crops]"
)
@click.option("--batch-size", type=int, help="[default: 64 whole images, 16 crops]")
@click.option("--optimizer", help=f"{', '.join(LEARNING_RATES)}.  [default: muon for U-shapes, else muon-plain]")
@click.option("--lr", type=float, help=f"Highest learning rate.  [default: {_RATES}; a quarter of it with --init]")
@click.option("--schedule", help=f"{', '.join(SCHEDULES)}.  [default: {_DEFAULT.schedule}]")
@click.option("--warmup-steps", type=int, help="[default: 200, at most a tenth of all]")
@click.option("--patch-size", type=int, help="Side of the crops in pixels.  [default: whole small images, else 64]")
@click.option("--augment/--no-augment", default=None, help="Turn and mirror at random.  [default: crops, not whole images]")
@click.option("--limit", type=int, help="Use only the first images.")
@click.option("--val-split", type=float, help="Part of the images that judges each epoch.  [default: 0.05]")
@click.option(
    "--val-groups",
    metavar="FILE.json",
    help='Images that belong together, as [["page1-a", "page1-b"], ["page2-a", "page2-b"]]: all or none of a list judge.',
)
@click.option("--seed", type=int, help=f"[default: {_DEFAULT.seed}]")
@click.option("--deterministic/--no-deterministic", default=None, help="The same weights every time on one machine; slower.")
@click.option("--precision", help=f"{', '.join(PRECISIONS)}: amp computes in 16 bits.  [default: {_DEFAULT.precision}]")
@click.option(
    "--qat/--no-qat", default=None, help="Round as the INT8 export will: a short last training, with --init.  [default: no]"
)
@click.option("--teacher", metavar="NAME|PATH", help="Learn from the output of this network too, found as --init finds it.")
@click.option("--teacher-weight", type=float, help=f"Its share of the loss, 0 to 1.  [default: {_DEFAULT.teacher_weight:g}]")
@click.option(
    "--ema",
    type=float,
    help="Judge and save a moving average of the weights, of which so much is kept in each step; 0: off."
    f"  [default: {_DEFAULT.ema:g}]",
)
@click.option("--patience", type=int, help="Stop after so many epochs without progress; 0: never.  [default: 0]")
@click.option("--device", default="auto", show_default=True, help=f"{', '.join(DEVICES)}.")
@click.option("--resume", is_flag=True, help="Continue the run in RUN, with its own settings.")
@click.option("--overwrite", is_flag=True, help="Replace a run in RUN.")
def command(output: str | None, config: str | None, device: str, resume: bool, overwrite: bool, **given: Any) -> int:
    """Train a denoiser on DATA: synthetic (default, needs no download), mnist, fashion_mnist, a folder of images, or an
    .npz or .npy file.
    """
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("dae_train").setLevel(logging.INFO)
    require("dae-train", "train", "keras", "matplotlib", "tomli_w")
    backend()
    if device not in DEVICES:
        raise click.UsageError(f"--device must be one of {', '.join(DEVICES)}, not {device!r}.")
    try:
        run, settings = _resumed(output, config, overwrite, given) if resume else _new(output, config, given)
    except (ConfigError, DataError) as error:
        raise click.UsageError(str(error)) from error
    before = None if resume else _described_ns(run)
    try:
        if resume:
            outcome = runs.resume(run.root, epochs=given["epochs"], device=device, verbose=_verbosity())
        else:
            line = command_line(settings, given, config)
            outcome = runs.train(settings, run.root, device=device, overwrite=overwrite, verbose=_verbosity(), command=line)
    except KeyboardInterrupt:
        return _interrupted(run, before)
    _report(outcome)
    return 0


def main() -> None:
    """Run `dae-train` on the command line's arguments."""
    run_command(command)


def _new(output: str | None, config: str | None, given: dict[str, Any]) -> tuple[RunDirectory, RunConfig]:
    settings = merge(config, given)
    check_source(settings.data)
    Custom().check(settings)
    if isinstance(settings.noise.spec, FitRequest):
        check_request(settings.noise.spec)
    for name in (settings.training.init, settings.training.teacher):
        if name is not None:
            find_init(name)
    return RunDirectory(Path(output) if output else default_output(settings)), settings


def _resumed(output: str | None, config: str | None, overwrite: bool, given: dict[str, Any]) -> tuple[RunDirectory, RunConfig]:
    for flag, present in (("--config", config), ("--overwrite", overwrite)):
        if present:
            raise ConfigError(f"--resume takes the settings of the run itself; leave {flag} out.")
    run = RunDirectory(Path(output) if output else default_output(merge(None, given)))
    settings = read_config(run)
    Custom().check(settings, str(run.root))
    check_same(settings, given)
    return run, settings


def _verbosity() -> int:
    return 1 if sys.stdout.isatty() else 2


def _report(outcome: Outcome) -> None:
    run, best, test = outcome.run, outcome.best, outcome.test
    click.echo(f"validation: {_judged(best)}  (best of {outcome.epochs} epochs: {best['epoch']:.0f})")
    if test:
        click.echo(
            f"test: bce {test['bce']:.4f}  mse {test['mse']:.4f}  psnr {test['psnr_db']:.2f} dB (from mean mse)  "
            f"ssim {test['ssim']:.4f}  noisy psnr {test['noisy_psnr_db']:.2f} dB  images {test['images']}"
        )
    click.echo(f"speed: {outcome.images_per_s:,.0f} images/s, {outcome.waiting:.0%} of the time waiting for images")
    pictures = [path.name for path in (run.curves, run.samples, run.latent) if path.exists()]
    click.echo(f"run directory: {run.root}  (look at {', '.join(pictures)})")
    click.echo(f"next: dae-export {shlex.quote(str(run.root))}")


def _judged(row: dict[str, float]) -> str:
    if "val_psnr" in row:
        return f"psnr {row['val_psnr']:.2f} dB  ssim {row['val_ssim']:.4f}"
    if "val_est_psnr" in row:
        return f"estimated psnr {row['val_est_psnr']:.2f} dB"
    return f"loss {row['val_loss']:.6f} at hidden pixels, their noise included"


def _described_ns(run: RunDirectory) -> int | None:
    """Return when the run in a directory was described, None if there is none: a new run has a description of its own."""
    return run.description.stat().st_mtime_ns if run.description.is_file() else None


def _interrupted(run: RunDirectory, before: int | None) -> int:
    """Say how to go on; `before` is what `_described_ns` returned at the start, None for a run that was to be continued."""
    now, name = _described_ns(run), shlex.quote(str(run.root))
    if now is None:
        click.echo("interrupted before anything was written", err=True)
    elif now == before:
        click.echo(f"interrupted before anything was written; the run in {name} is untouched", err=True)
    else:
        click.echo(f"interrupted; continue with: dae-train --resume -o {name}", err=True)
    return EXIT_INTERRUPTED
