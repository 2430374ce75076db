"""Pack a trained network into a small file for the package: `python -m dae_tools.pack_network RUN NAME.keras`.

The weights are rounded to the 11 significant bits of float16, with no effect on quality, and the archive is compressed. The
file remains a float32 Keras file.
"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import click
import numpy as np

from dae_runtime.system.atomic import atomic_path
from dae_runtime.system.command import require, run_command
from dae_train.settings.trained_file import find_init


def pack(source: str | os.PathLike[str], destination: str | os.PathLike[str]) -> int:
    """Write a trained network as a small `.keras` file.

    Args:
        source: A run directory, or a `.keras` file.
        destination: The file to write, ending in `.keras`; replaced if it exists.

    Returns:
        Its size in bytes.

    Raises:
        ConfigError: There is no trained network.
    """
    import keras

    model = keras.models.load_model(find_init(os.fspath(source)), compile=False)
    model.set_weights([weight.astype(np.float16).astype(np.float32) for weight in model.get_weights()])
    with atomic_path(Path(destination)) as temporary:
        model.save(temporary)
        _compress(temporary)
        return temporary.stat().st_size


def _compress(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        parts = [(info.filename, archive.read(info)) for info in archive.infolist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in parts:
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)  # without a timestamp


@click.command()
@click.argument("source")
@click.argument("destination", type=click.Path(path_type=Path))
def command(source: str, destination: Path) -> None:
    """Write the network of SOURCE, a run directory or a .keras file, as the small file DESTINATION."""
    if destination.suffix != ".keras":
        raise click.UsageError(f"DESTINATION must end in .keras, not {destination.suffix or 'in nothing'!r}: {destination}")
    require("dae_tools.pack_network", "train", "keras")
    click.echo(f"{destination}: {pack(source, destination):,} bytes")


if __name__ == "__main__":
    run_command(command)
