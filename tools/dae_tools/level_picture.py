"""Draw measured and advised noise levels against the true ones: `python -m dae_tools.level_picture -o docs/images/levels.png`.

`--clean` are photographs without noise, as they are and with synthetic noise of one level each; `--pairs` a folder with the
subfolders `noisy` and `clean`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import click
import numpy as np
from matplotlib.figure import Figure

from dae_runtime.images import find_images, read_image
from dae_runtime.pixels.advice import noise_of
from dae_runtime.pixels.arrays import Array, as_batch, convert
from dae_runtime.system.command import run_command

from .camera_noise import Colors, Rng, add_correlated, add_mosaic, add_white
from .pairs.levels import measured_and_true
from .pairs.scores import read_pairs

MOST = 16
"""Levels shown, on the scale of 0 to 255."""
NOISES: dict[str, Callable[[Rng, Colors, float], Colors]] = {
    "white": add_white,
    "correlated, JPEG": add_correlated,
    "mosaic, JPEG": add_mosaic,
}
TITLES = ("measured", "advised: what the model is told")
Point = tuple[float, float, float]
"""True, measured and advised level, on the scale of 0 to 255."""


def point(noisy: Array, clean: Array) -> Point:
    """Return the levels of a noisy image, (H, W, C) like the clean one."""
    measured, true = measured_and_true(noisy, clean)
    return true, measured, 255 * noise_of(convert(as_batch(noisy)[0], np.float32)).advised


def synthetic(folder: Path) -> Iterator[tuple[str, Point]]:
    """Yield for each photograph the levels without noise, and with each kind of noise of a level from 1 to `MOST`."""
    for number, path in enumerate(find_images(folder)):
        clean = convert(as_batch(read_image(path).pixels)[0], np.float32)
        yield "clean", point(clean, clean)
        for name, add in NOISES.items():
            rng = np.random.default_rng(number)
            yield name, point(add(rng, clean, rng.uniform(1, MOST) / 255), clean)


def draw(points: dict[str, list[Point]]) -> Figure:
    """Return a figure of two scatters, measured and advised against true, with a line where they are equal."""
    figure = Figure(figsize=(10, 5), layout="constrained")
    for column, title in enumerate(TITLES, 1):
        axes = figure.add_subplot(1, 2, column, title=title, xlabel="true level, of 255", xlim=(-0.5, MOST), ylim=(-0.5, MOST))
        axes.plot([0, MOST], [0, MOST], color="0.7", linewidth=1)
        for number, (name, found) in enumerate(points.items()):
            levels = np.array(found)
            axes.scatter(levels[:, 0], levels[:, column], s=14, color=f"C{number}", label=f"{name} ({len(found)})")
    figure.axes[0].legend(loc="upper left")
    return figure


@click.command()
@click.option(
    "--clean", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True, help="Color photographs."
)
@click.option("--pairs", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder of real pairs.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="PNG file to write.")
def command(clean: Path, pairs: Path | None, output: Path) -> int:
    """Draw how near measured and advised noise levels are to the true ones."""
    points: dict[str, list[Point]] = {}
    for name, found in synthetic(clean):
        points.setdefault(name, []).append(found)
    if pairs is not None:
        points["real pairs"] = [point(noisy, true) for _, noisy, true in read_pairs(pairs / "noisy", pairs / "clean")]
    draw(points).savefig(output, dpi=80)
    return 0


if __name__ == "__main__":
    run_command(command)
