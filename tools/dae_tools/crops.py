"""A contact sheet of enlarged crops: noisy, denoised by a model, by non-local means, and clean: `python -m dae_tools.crops`.

Images are denoised whole, so that the noise level is measured as always, and cropped where the clean one has most structure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt

from dae_runtime.images import Image, write_image
from dae_runtime.inference import Denoiser
from dae_runtime.pixels.arrays import Array, as_batch, color_channels, convert, luma_of
from dae_runtime.pixels.metrics import psnr_db
from dae_runtime.system.command import run_command

from .cards.picture import strip
from .pairs.methods import METHODS, check_installed
from .pairs.scores import read_pairs

Pixels = npt.NDArray[np.uint8]
STEP_PX = 16
"""Distance of the places that a crop may have."""
_OTHER = "nlm"


@dataclass(frozen=True)
class Row:
    """One row of the sheet."""

    name: str
    place: tuple[int, int]
    """Top row and left column of the crop."""
    crops: tuple[Pixels, Pixels, Pixels, Pixels]
    """Noisy, denoised by the model, denoised by non-local means, clean; (H, W, 3) each."""

    def line(self) -> str:
        """Return the PSNR of each crop, in words."""
        *images, clean = self.crops
        noisy, ours, other = (f"{psnr_db(clean, image, 255):.2f}" for image in images)
        return f"{self.name} at {self.place}: noisy {noisy}, model {ours}, NLM {other} dB"


def rows(denoiser: Denoiser, pairs: Sequence[tuple[str, Array, Array]], side: int, h: float, sigma: float | None) -> list[Row]:
    """Return the rows of a sheet.

    Args:
        denoiser: An opened model.
        pairs: As from `read_pairs`.
        side: Of the crops in pixels, cut off at the edges of smaller images.
        h: Strength of non-local means, on the scale of 0 to 255.
        sigma: Noise level to tell the model, where white is 1; None to let it be measured.
    """
    found = []
    for name, *images in pairs:
        noisy, clean = (_in_color(image) for image in images)
        place = busiest(clean, side)
        every = (noisy, denoiser.denoise(noisy, sigma=sigma), METHODS[_OTHER].denoise(noisy, h), clean)
        top, left = place
        first, second, third, last = (image[top : top + side, left : left + side] for image in every)
        found.append(Row(name, place, (first, second, third, last)))
    return found


def busiest(image: Pixels, side: int) -> tuple[int, int]:
    """Return the place, top row and left column, of the square on a grid whose neighbors differ most in brightness."""
    luma = luma_of(convert(image, np.float32))[..., 0]
    changes = np.abs(np.diff(luma, axis=0))[:, 1:] + np.abs(np.diff(luma, axis=1))[1:]
    tops, lefts = (range(0, max(1, length - side + 1), STEP_PX) for length in luma.shape)
    places = [(top, left) for top in tops for left in lefts]
    return max(places, key=lambda place: float(changes[place[0] : place[0] + side - 1, place[1] : place[1] + side - 1].sum()))


def sheet(found: Sequence[Row], scale: int) -> Pixels:
    """Return the crops of all rows, (H, W, 3), each pixel a square of `scale` pixels; all crops have one size."""
    lines = [strip([crop.repeat(scale, axis=0).repeat(scale, axis=1) for crop in row.crops], axis=1) for row in found]
    return strip(lines, axis=0)


def _in_color(image: Array) -> Pixels:
    batch = convert(as_batch(image)[0], np.uint8)
    colors = batch[..., : color_channels(batch.shape[2])]
    return np.ascontiguousarray(np.broadcast_to(colors, (*colors.shape[:2], 3)))


@click.command()
@click.option("--noisy", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True, help="Noisy images.")
@click.option("--clean", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True, help="Clean ones.")
@click.option("-m", "--model", required=True, help="An .onnx file from dae-export, or the name of a bundled model.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The sheet, a .png file.")
@click.option("--count", type=click.IntRange(min=1), default=6, show_default=True, help="Images, evenly spaced by name.")
@click.option("--side", type=click.IntRange(min=8), default=80, show_default=True, help="Of the crops, in pixels.")
@click.option("--scale", type=click.IntRange(1, 16), default=3, show_default=True, help="Enlargement.")
@click.option(
    "--h", type=click.FloatRange(0, 255), default=3, show_default=True, help="Strength of NLM; 3 is OpenCV's default."
)
@click.option("--sigma", type=click.FloatRange(0, 255), help="Noise level of 255 for the model.  [default: measured]")
def command(
    noisy: Path, clean: Path, model: str, output: Path, count: int, side: int, scale: int, h: float, sigma: float | None
) -> int:
    """Write a sheet of crops at 300 %: noisy, by the model, by non-local means (NLM), clean."""
    check_installed([_OTHER])
    pairs = list(read_pairs(noisy, clean))
    chosen = [pairs[number * len(pairs) // min(count, len(pairs))] for number in range(min(count, len(pairs)))]
    smallest = min(min(image.shape[:2]) for _, *images in chosen for image in images)
    with Denoiser(model) as denoiser:
        found = rows(denoiser, chosen, min(side, smallest), h, None if sigma is None else sigma / 255)
    write_image(output, Image(sheet(found, scale)))
    for row in found:
        click.echo(row.line())
    return 0


if __name__ == "__main__":
    run_command(command)
