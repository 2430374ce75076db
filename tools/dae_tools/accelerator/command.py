"""The command `python -m dae_tools.accelerator`."""

from __future__ import annotations

import dataclasses
import logging
import os
import shlex
import sys
import time
from pathlib import Path

import click

from dae_train.errors import ConfigError
from dae_train.settings.config import RunConfig, from_mapping, read_toml

from .pack import LARGEST_MIB, pack


@click.group()
def command() -> None:
    """Train on a GPU in minutes: pack crops here, train there, export here. See docs/training.md."""


@command.command("pack")
@click.argument("folders", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.npy")
@click.option("--channels", type=click.Choice(["1", "3"]), default="3", show_default=True, help="1 (gray) or 3 (RGB).")
@click.option("--side", type=click.IntRange(min=16), default=176, show_default=True, help="Side of the crops in pixels.")
@click.option("--mib", type=click.FloatRange(0, LARGEST_MIB, min_open=True), default=48, show_default=True, help="Size.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of places and order.")
def pack_command(folders: tuple[Path, ...], output: Path, channels: str, side: int, mib: float, seed: int) -> int:
    """Write crops of the images below FOLDERS into one .npy file."""
    if output.suffix != ".npy":
        raise click.UsageError(f"--output must end in .npy, not {output.suffix or 'in nothing'!r}: {output}")
    count = pack(folders, output, int(channels), side, mib, seed)
    click.echo(f"{output}: {count} crops of {side} x {side} pixels, {output.stat().st_size / 2**20:.1f} MiB")
    return 0


@command.command("train")
@click.argument("crops", required=False, type=click.Path(exists=True, dir_okay=False))
@click.option("--config", type=click.Path(exists=True, dir_okay=False), metavar="FILE.toml", help="Settings of dae-train.")
@click.option("-o", "--output", required=True, type=click.Path(file_okay=False, path_type=Path), help="Run directory.")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), required=True, help="Wall-clock time, all included.")
@click.option("--steps-per-call", type=click.IntRange(min=1), default=50, show_default=True, help="Most steps in a call.")
@click.option("--anneal", is_flag=True, help="Let the learning rate fall by the time instead of by the steps of the settings.")
@click.option("--init", metavar="NAME|PATH", help="Start from the weights of this network, as with dae-train.")
@click.option("--resume", is_flag=True, help="Continue the run in --output with its settings.")
@click.option("--overwrite", is_flag=True, help="Replace the run in --output.")
def train_command(
    crops: str | None,
    config: str | None,
    output: Path,
    seconds: float,
    steps_per_call: int,
    anneal: bool,
    init: str | None,
    resume: bool,
    overwrite: bool,
) -> int:
    """Train with CROPS, a file of `pack`, until the time is over or the steps of the settings are done.

    Images, cropping and noise stay on the device; XLA_FLAGS apply (--xla_gpu_autotune_level=0 compiles faster).
    """
    started_s = time.monotonic()
    os.environ.setdefault("KERAS_BACKEND", "jax")
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("dae_train").setLevel(logging.INFO)
    if resume and (crops or config or init or overwrite):
        raise click.UsageError("--resume takes the settings of the run: omit CROPS, --config, --init and --overwrite.")
    if not resume and not (crops and config):
        raise click.UsageError("give CROPS and --config FILE.toml, or --resume.")
    settings = None if resume else _settings(str(crops), str(config), init)

    from .run import train

    done = train(settings, output, seconds - (time.monotonic() - started_s), steps_per_call, anneal, overwrite)
    best, name = done.best, shlex.quote(str(output))
    click.echo(
        f"{done.rows[-1]['step']:.0f} steps, {done.crops_per_s:,.0f} crops/s, {len(done.rows)} epochs: {name}/history.csv"
    )
    click.echo(f"best: epoch {best['epoch']:.0f}, validation psnr {best['val_psnr']:.2f} dB: {name}/model.keras")
    click.echo(f"next: dae-train --resume -o {name}")
    return 0


def _settings(crops: str, config: str, init: str | None) -> RunConfig:
    document = read_toml(config)
    if init is not None:
        document["training"] = {**document.get("training", {}), "init": init}
    settings = from_mapping(document, config)
    if settings.data.target is not None:
        raise ConfigError(f"{config}: data.target is {settings.data.target!r}, and CROPS are clean. Omit it.")
    return dataclasses.replace(settings, data=dataclasses.replace(settings.data, source=crops))
