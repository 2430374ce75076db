"""How good is a model on pairs of photographs, and how near is the measured noise level: `python -m dae_tools.pairs`.

With `--noisy`, `--clean` and `-m`: PSNR and SSIM before and after, in the mean and for the image that gains least. With
`--levels`: the ratio of the measured level to the true one, the root mean square of noisy - clean; without `--noisy`, on
synthetic noise that is put on the clean images: none, white, correlated, and of a mosaic (`camera_noise`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import click
import numpy as np
import numpy.typing as npt

from dae_runtime.errors import InputError
from dae_runtime.images import find_images, read_image
from dae_runtime.inference import Denoiser
from dae_runtime.jobs.inputs import find_references
from dae_runtime.pixels.arrays import Array, as_batch, convert
from dae_runtime.pixels.level import measure_level
from dae_runtime.pixels.metrics import mean_square_error
from dae_runtime.pixels.scores import Scores, mean_scores, score
from dae_runtime.system.command import run_command

from .camera_noise import Colors, Rng, add_correlated, add_mosaic, add_white

WHITE_LEVELS = (2, 5, 10, 15, 25, 50)
CAMERA_LEVELS = (2, 5, 12)
"""On the scale of 0 to 255."""
Add = Callable[[Rng, Colors, float], Colors]


@dataclass(frozen=True)
class Pair:
    """The scores of one pair."""

    name: str
    scores: Scores
    level: float | None
    """Noise level that the model was given, where white is 1."""

    @property
    def gain_db(self) -> float:
        """What the model gains in PSNR."""
        return self.scores.denoised_psnr_db - self.scores.noisy_psnr_db


def score_pairs(denoiser: Denoiser, noisy: Path, clean: Path, sigma: float | None = None) -> list[Pair]:
    """Denoise the noisy images and compare them with the clean ones of the same names.

    Args:
        denoiser: An opened model.
        noisy: Folder of noisy images.
        clean: Folder of clean ones.
        sigma: Noise level to tell the model, where white is 1; None for the advised one of each image.

    Raises:
        InputError: A folder holds no image, or none of the same name.
        ImageError: An image cannot be read.
    """
    found = []
    for name, before, after in read_pairs(noisy, clean):
        level = denoiser.advise(before) if sigma is None else sigma
        found.append(Pair(name, score(after, before, denoiser.denoise(before, sigma=level)), level))
    return found


def read_pairs(noisy: Path, clean: Path) -> Iterator[tuple[str, Array, Array]]:
    """Yield the name, the noisy and the clean pixels of each pair.

    Raises:
        InputError: A folder holds no image, or none of the same name.
    """
    sources = find_images(noisy)
    if not sources:
        raise InputError(f"the folder {noisy} holds no image.")
    for source, reference in zip(sources, find_references(sources, noisy, clean), strict=True):
        if reference is not None:
            yield source.name, read_image(source).pixels, read_image(reference).pixels


def measured_and_true(noisy: Array, clean: Array) -> tuple[float, float]:
    """Return the measured and the true level of a noisy image, on the scale of 0 to 255."""
    planes = [convert(as_batch(image)[0], np.float32) for image in (noisy, clean)]
    return 255 * measure_level(planes[0]), 255 * math.sqrt(mean_square_error(planes[1], planes[0]))


def synthetic_levels(folder: Path, add: Add, level: float) -> list[tuple[float, float]]:
    """Return the measured and the true level of the color images of a folder with noise of a level (of 255) added."""
    found = []
    for number, path in enumerate(find_images(folder)):
        clean = convert(as_batch(read_image(path).pixels)[0], np.float32)
        noisy = add(np.random.default_rng(number), clean, level / 255)
        found.append(measured_and_true(noisy, clean))
    return found


def scatter(levels: list[tuple[float, float]]) -> str:
    """Return in words how near measured levels are to the true ones."""
    measured, true = (np.array(column) for column in zip(*levels, strict=True))
    if not true.any():
        low, middle, high = np.quantile(measured, (0.1, 0.5, 0.9))
        return f"true   0.0   measured {middle:5.2f} [{low:.2f}, {high:.2f}], at most {measured.max():.2f}"
    ratio: npt.NDArray[np.float64] = measured / true
    low, middle, high = np.quantile(ratio, (0.1, 0.5, 0.9))
    spread = float(np.std(np.log(np.maximum(ratio, 0.01))))
    return (
        f"true {np.median(true):5.1f}   ratio {middle:.2f} [{low:.2f}, {high:.2f}], {ratio.min():.2f} to {ratio.max():.2f}; "
        f"spread of its logarithm {spread:.2f}"
    )


def _print_synthetic(clean: Path) -> None:
    def no_noise(rng: Rng, colors: Colors, level: float) -> Colors:
        return colors

    rows: list[tuple[str, Add, float]] = [("clean", no_noise, 0)]
    rows += [("white", add_white, level) for level in WHITE_LEVELS]
    rows += [("correlated", add_correlated, level) for level in CAMERA_LEVELS]
    rows += [("mosaic", add_mosaic, level) for level in CAMERA_LEVELS]
    for name, add, level in rows:
        click.echo(f"{name:11}{scatter(synthetic_levels(clean, add, level))}")


def _print_scores(pairs: list[Pair]) -> None:
    for pair in pairs:
        scores, level = pair.scores, "" if pair.level is None else f"   level {255 * pair.level:.1f} of 255"
        click.echo(
            f"{scores.noisy_psnr_db:6.2f} -> {scores.denoised_psnr_db:6.2f} dB ({pair.gain_db:+.2f}){level}   {pair.name}"
        )
    mean, worst = mean_scores([pair.scores for pair in pairs]), min(pairs, key=lambda pair: pair.gain_db)
    levels = [pair.level for pair in pairs if pair.level is not None]
    click.echo(
        f"mean of {len(pairs)}: PSNR {mean.noisy_psnr_db:.2f} -> {mean.denoised_psnr_db:.2f} dB, "
        f"SSIM {mean.noisy_ssim:.4f} -> {mean.denoised_ssim:.4f}"
        + (f", level {255 * fmean(levels):.1f} of 255" if levels else "")
    )
    click.echo(f"worst: {worst.name}, {worst.gain_db:+.2f} dB")


@click.command()
@click.option("--noisy", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder of noisy images.")
@click.option("--clean", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True, help="Of clean ones.")
@click.option("-m", "--model", help="An .onnx file from dae-export, or the name of a bundled model.")
@click.option("--sigma", type=click.FloatRange(0, 255), help="Noise level on the scale of 0 to 255.  [default: measured]")
@click.option("--levels", is_flag=True, help="Compare the measured noise level with the true one; no model is needed.")
def command(noisy: Path | None, clean: Path, model: str | None, sigma: float | None, levels: bool) -> int:
    """Judge a model, or the measured noise level, on pairs of noisy and clean images."""
    if levels and noisy is None:
        _print_synthetic(clean)
    elif noisy is None or (model is None and not levels):
        raise click.UsageError("give --noisy and -m MODEL, or --levels.")
    elif levels:
        click.echo(f"{'pairs':11}{scatter([measured_and_true(*pair) for _, *pair in read_pairs(noisy, clean)])}")
    elif model is not None:
        with Denoiser(model) as denoiser:
            _print_scores(score_pairs(denoiser, noisy, clean, None if sigma is None else sigma / 255))
    return 0


if __name__ == "__main__":
    run_command(command)
