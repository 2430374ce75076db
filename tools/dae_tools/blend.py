"""A teacher of two networks that are told the noise level: `python -m dae_tools.blend CAMERA WHITE -o BOTH.keras`.

Of the smooth noise of cameras a network that knows it does best where it is told a little more than the true level, one that
knows white noise alone where it is told two and a half times as much. The mean of both is better than either
(docs/photographs.md), and a network can be taught to give it:
`dae-train PHOTOS --init CAMERA --teacher BOTH.keras --teacher-weight 1`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from dae_runtime.contract import INPUT_NAME, SIGMA_NAME
from dae_runtime.system.atomic import atomic_path
from dae_runtime.system.command import require, run_command
from dae_train.errors import ConfigError
from dae_train.networks import load_trained

WHITE, SMOOTH = 0.9, 0.5
"""Diagonal differences of neighbors over the level told: from the first on noise is white, or there is texture; below the
second it is smooth, and both networks are told more."""
MORE_CAMERA, MORE_WHITE = 0.25, 1.5
"""Of the level, of smooth noise: what the two networks are told beyond it."""
_LEAST = 1e-4


def blend(camera: str | os.PathLike[str], white: str | os.PathLike[str], destination: str | os.PathLike[str]) -> None:
    """Write a network that gives the mean of two, both told more where noise is smooth.

    Args:
        camera: A run directory or a `.keras` file: a network that is given the noise level.
        white: The same, trained on white noise, for images of the same channels.
        destination: The file to write, ending in `.keras`; replaced if it exists.

    Raises:
        ConfigError: There is no trained network, or it is not as above.
    """
    import keras
    from keras import ops

    networks = [_load(source, name) for source, name in ((camera, "camera"), (white, "white"))]
    channels = networks[0].inputs[0].shape[-1]
    if networks[1].inputs[0].shape[-1] != channels:
        raise ConfigError(
            f"{white} is for {networks[1].inputs[0].shape[-1]} channels, {camera} for {channels}. Give two alike."
        )
    noisy, sigma = keras.Input((None, None, channels), name=INPUT_NAME), keras.Input((1,), name=SIGMA_NAME)
    rows = noisy[:, :-1] - noisy[:, 1:]
    detail = (rows[:, :, :-1] - rows[:, :, 1:]) * 0.5  # of white noise as strong as the noise
    found = ops.sqrt(ops.mean(detail * detail, axis=(1, 2, 3)) + _LEAST**2)[:, None]
    smooth = ops.clip((WHITE - found / (sigma + _LEAST)) / (WHITE - SMOOTH), 0, 1)
    told = [sigma * (1 + more * smooth) for more in (MORE_CAMERA, MORE_WHITE)]
    both = 0.5 * networks[0]([noisy, told[0]]) + 0.5 * networks[1]([noisy, told[1]])
    with atomic_path(Path(destination)) as temporary:
        keras.Model([noisy, sigma], both, name="blend").save(temporary)


def _load(source: str | os.PathLike[str], name: str) -> Any:
    network = load_trained(os.fspath(source), name.upper())
    if [tensor.name for tensor in network.inputs] != [INPUT_NAME, SIGMA_NAME]:
        raise ConfigError(f"{source} is not given the noise level. Give a network of dae-train --sigma-input.")
    network.name = name
    return network


@click.command()
@click.argument("camera")
@click.argument("white")
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False), metavar="BOTH.keras")
def command(camera: str, white: str, output: str) -> int:
    """Blend CAMERA and WHITE, two trained networks that are told the noise level, into a teacher."""
    if not output.endswith(".keras"):
        raise click.UsageError(f"--output must end in .keras: {output}")
    blend(camera, white, output)
    click.echo(f"{output}; next: dae-train PHOTOS --init {camera} --teacher {output} --teacher-weight 1")
    return 0


if __name__ == "__main__":
    require("dae_tools.blend", "train", "keras")
    run_command(command)
