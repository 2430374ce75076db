"""Noise of a recipe in numbers, beside that of photographs: `python -m dae_tools.noise_numbers`.

With `--noisy` and `--reference`, pairs of photographs: their true noise, where the clean ones are flat. Elsewhere a pair
differs by more than noise: between two shots a lamp flickers, a leaf moves. With `--noisy` alone: what their flat blocks hold.
With `--recover`, what `dae-train --noise fit:` finds in images with noise of a known recipe.
"""

from __future__ import annotations

import itertools
import tempfile
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt

from dae_runtime.contract import parse_noise
from dae_runtime.images import Image, find_images, read_image, write_image
from dae_runtime.pixels.arrays import as_batch, color_channels, convert
from dae_runtime.system.command import run_command
from dae_train import NoiseSettings
from dae_train.noise import CameraFit, NoiseStatistics, describe, draw_noisy, fit_camera_folder, flat_blocks, white_level

from .pairs.scores import read_pairs

STRIDES_PX = (1, 2, 3)
SEED = 1
Pixels = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Row:
    """The noise of one image."""

    noise: NoiseStatistics
    seen: tuple[float, ...]
    """What an estimator for white noise finds at `STRIDES_PX`, over the level."""


def measure(noisy: Pixels, clean: Pixels | None) -> Row | None:
    """Return the numbers of an image, (H, W, C) in 0..1: of what flat blocks hold, of the clean one if there is one.

    None where there is no noise, or where no block can be chosen.
    """
    blocks = flat_blocks(noisy) if clean is None else flat_blocks(clean, noisy - clean)
    noise = describe(blocks) if len(blocks) else None
    if noise is None or not noise.level:
        return None
    return Row(noise, tuple(white_level(noisy, stride) / noise.level for stride in STRIDES_PX))


def measure_recipe(spec: str, clean: Path, flat: bool) -> list[Row]:
    """Return the numbers of a recipe's noise on each image of a folder; of flat blocks only if `flat`."""
    found = []
    settings = NoiseSettings(spec)
    for number, path in enumerate(find_images(clean)):
        image = _pixels(read_image(path).pixels)
        (noisy,) = draw_noisy([image], settings, SEED + number)
        found.append(measure(noisy, None if flat else image))
    return [row for row in found if row is not None]


def measure_folder(noisy: Path, reference: Path | None) -> list[Row]:
    """Return the numbers of photographs: of pairs, or without `reference` of their flat blocks."""
    if reference is None:
        found = [measure(_pixels(read_image(path).pixels), None) for path in find_images(noisy)]
    else:
        found = [measure(_pixels(a), _pixels(b)) for _, a, b in read_pairs(noisy, reference)]
    return [row for row in found if row is not None]


def recover(spec: str, clean: Path, limit: int) -> CameraFit | None:
    """Return what is estimated from images of a folder with noise of a recipe, without the clean ones."""
    paths = list(find_images(clean))
    with tempfile.TemporaryDirectory() as folder:
        for number, path in enumerate(paths[:: -(-len(paths) // limit)]):
            (noisy,) = draw_noisy([_pixels(read_image(path).pixels)], NoiseSettings(spec), SEED + number)
            write_image(Path(folder) / f"{number:04}.png", Image(convert(noisy, np.uint8)))
        return fit_camera_folder(Path(folder))


def recovered(spec: str, fit: CameraFit | None) -> str:
    """Return true and estimated amounts as text; of a true range the middle."""
    ((step,),) = parse_noise(spec).recipes
    rows = [f"{'':8}{'true':>10}{'estimated':>12}"]
    amounts = ["-"] * len(step.amounts) if fit is None else [f"{amount:.3g}" for amount in fit.amounts]
    for name, true, found in zip(("ISO", "BLUR", "COLOR"), step.amounts, amounts, strict=False):
        rows.append(f"{name:8}{(true.low + true.high) / 2:>10g}{found:>12}")
    return "\n".join([*rows, "no noise found" if fit is None else fit.spec()])


def table(columns: dict[str, list[Row]]) -> str:
    """Return the numbers as text: the median of each over the images of a column, and where four of five images lie."""
    names = [
        "level, of 255",
        *(f"luma, correlation at {d} px" for d in (1, 2, 3)),
        *(f"color, correlation at {d} px" for d in (1, 2, 3)),
        "color over luma",
        *(f"white-noise estimate, stride {s}" for s in STRIDES_PX),
    ]
    lines = ["".join([f"{'median [four of five]':32}", *(f"{title:>26}" for title in columns)])]
    cells = [_cells(rows) for rows in columns.values()]
    lines += ["".join([f"{name:32}", *(f"{column[i]:>26}" for column in cells)]) for i, name in enumerate(names)]
    return "\n".join(lines)


def histogram(columns: dict[str, list[Row]]) -> str:
    """Return as text how many images of each column have which level."""
    edges = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 256)
    lines = [f"{'level, of 255':32}" + "".join(f"{title:>26}" for title in columns)]
    counts = [np.histogram([255 * row.noise.level for row in rows], edges)[0] for rows in columns.values()]
    for i, (low, high) in enumerate(itertools.pairwise(edges)):
        shares = (f"{count[i] / max(1, count.sum()):26.0%}" for count in counts)
        lines.append(f"{f'{low} to {high}':32}" + "".join(shares))
    return "\n".join(lines)


def _cells(rows: list[Row]) -> list[str]:
    if not rows:
        return ["-"] * 11
    values = [(255 * r.noise.level, *r.noise.luma, *r.noise.color, r.noise.ratio, *r.seen) for r in rows]
    low, middle, high = np.quantile(np.array(values), (0.1, 0.5, 0.9), axis=0)
    return [f"{m:.2f} [{a:.2f}, {b:.2f}]" for a, m, b in zip(low, middle, high, strict=True)]


def _pixels(pixels: npt.NDArray[np.generic]) -> Pixels:
    return convert(as_batch(pixels)[0][..., : color_channels(pixels.shape[-1]) if pixels.ndim == 3 else 1], np.float32)


_Folder = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.option("--noise", required=True, help="The recipe, as for dae-train: camera:100-6400.")
@click.option("--clean", type=_Folder, required=True, help="Folder of clean images that get the noise of the recipe.")
@click.option("--noisy", type=_Folder, help="Folder of noisy photographs.")
@click.option(
    "--reference",
    type=_Folder,
    help="Their clean ones, which say where to look; without it, blocks that look flat in --noisy count.",
)
@click.option("--recover", "limit", type=click.IntRange(1), help="Estimate camera:... from so many noisy images, print it.")
def command(noise: str, clean: Path, noisy: Path | None, reference: Path | None, limit: int | None) -> int:
    """Print the statistics of a noise recipe beside those of photographs."""
    if limit is not None:
        if not noise.startswith("camera"):
            raise click.UsageError("--recover needs noise of a camera: --noise camera:3200,0.7,0.6.")
        click.echo(recovered(noise, recover(noise, clean, limit)))
        return 0
    if noisy is None and reference is not None:
        raise click.UsageError("--reference needs --noisy.")
    columns = {noise: measure_recipe(noise, clean, flat=noisy is not None and reference is None)}
    if noisy is not None:
        columns["photographs"] = measure_folder(noisy, reference)
    click.echo(table(columns))
    click.echo()
    click.echo(histogram(columns))
    return 0


if __name__ == "__main__":
    run_command(command)
