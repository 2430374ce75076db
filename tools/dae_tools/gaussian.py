"""Measure PSNR on white Gaussian noise by the protocol of the literature: `python -m dae_tools.gaussian`.

The protocol: an 8-bit image is divided by 255; float32 noise of standard deviation sigma / 255 is added and *not* clipped; the
output of the model is clipped and rounded to 8 bits. PSNR is taken against the 8-bit image; the mean over the images of a
folder is reported. Sigma 0 shows the effect on clean images.

The noise of the image at position n of the sorted folder is `numpy.random.default_rng([seed, n]).standard_normal(shape)` times
sigma / 255: the same for every model, with the same pattern at every sigma.

Source:
    Zhang, Zuo, Zhang: FFDNet: toward a fast and flexible solution for CNN-based image denoising. IEEE Transactions on Image
    Processing 27(9), 2018, and the tables of published figures that follow it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

import click
import numpy as np
import numpy.typing as npt

from dae_runtime.errors import InputError
from dae_runtime.images import find_images, read_image
from dae_runtime.inference import Denoiser
from dae_runtime.pixels.arrays import color_channels, convert
from dae_runtime.pixels.metrics import psnr_db
from dae_runtime.system.command import run_command

SIGMAS = (15.0, 25.0, 50.0)
"""On the scale 0..255: the levels published most often."""
LUMA = (0.299, 0.587, 0.114)
"""Weights of R, G and B in a gray image, of ITU-R BT.601."""

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ImageScore:
    """PSNR in dB of one image against its clean 8-bit original."""

    name: str
    noisy_psnr_db: float
    """Infinite without noise."""
    psnr_db: float
    """Of the model's output."""


@dataclass(frozen=True)
class SigmaScore:
    """The scores at one level of noise."""

    sigma: float
    """Standard deviation on the scale 0..255."""
    images: tuple[ImageScore, ...]

    @property
    def noisy_psnr_db(self) -> float:
        """Mean over the images."""
        return fmean(image.noisy_psnr_db for image in self.images)

    @property
    def psnr_db(self) -> float:
        """Mean over the images."""
        return fmean(image.psnr_db for image in self.images)


def score_gaussian(denoiser: Denoiser, paths: Sequence[Path], sigma: float, seed: int = 0, told: bool = False) -> SigmaScore:
    """Measure a model on images with Gaussian noise.

    Args:
        denoiser: An opened model; with 8-bit edges it gets noisy values clipped and rounded, which costs a little.
        paths: Clean image files, read one by one; see `read_clean`.
        sigma: Standard deviation of the noise on the scale 0..255; 0 for none.
        seed: Seed of the noise, with an image's position in `paths`.
        told: Whether to tell the model the level, as FFDNet's figures are measured; a model that is given it measures it else.

    Raises:
        InputError: There are no images, `sigma` or `seed` is negative, or the model cannot be told a level.
        ImageError: An image cannot be read.
    """
    if not paths:
        raise InputError("there are no images to measure with. Give at least one clean image.")
    if not (math.isfinite(sigma) and sigma >= 0) or seed < 0:
        raise InputError(f"sigma and seed must be numbers of at least 0; received {sigma!r} and {seed!r}.")
    channels = denoiser.model.channels
    return SigmaScore(sigma, tuple(_score(denoiser, path, channels, sigma, (seed, n), told) for n, path in enumerate(paths)))


def add_gaussian(clean: Pixels, sigma: float, seed: Sequence[int]) -> npt.NDArray[np.float32]:
    """Return an 8-bit image as float32 in [0, 1] plus noise, not clipped; `clean` stays unchanged.

    Args:
        clean: Of any shape.
        sigma: Standard deviation on the scale 0..255.
        seed: Seed of numpy's default generator.
    """
    noise = np.random.default_rng(list(seed)).standard_normal(clean.shape)
    noisy: npt.NDArray[np.float32] = ((clean + sigma * noise) / 255).astype(np.float32)
    return noisy


def read_clean(path: Path, channels: int) -> Pixels:
    """Read an image for a model with `channels` channels, without alpha, 16 bits rounded to 8.

    Returns:
        (H, W) for 1 channel, colors weighted by `LUMA` and rounded; (H, W, 3) for 3 channels, gray repeated.

    Raises:
        ImageError: The file cannot be read.
    """
    pixels = read_image(path).pixels
    colors = convert(pixels if pixels.ndim == 3 else pixels[..., None], np.uint8)
    colors = colors[..., : color_channels(colors.shape[2])]
    if channels == 3:
        return np.ascontiguousarray(np.broadcast_to(colors, (*colors.shape[:2], 3)))
    return colors[..., 0] if colors.shape[2] == 1 else np.rint(colors @ np.asarray(LUMA)).astype(np.uint8)


def _score(denoiser: Denoiser, path: Path, channels: int, sigma: float, seed: Sequence[int], told: bool) -> ImageScore:
    clean = read_clean(path, channels)
    noisy = add_gaussian(clean, sigma, seed)
    denoised = convert(denoiser.denoise(noisy, sigma=min(1.0, sigma / 255) if told else None), np.uint8)
    noisy_psnr = psnr_db(clean, noisy.astype(np.float64) * 255, 255) if sigma else math.inf
    return ImageScore(path.name, noisy_psnr, psnr_db(clean, denoised, 255))


@click.command()
@click.option("-m", "--model", required=True, help="The model file, or the name of a bundled model.")
@click.option(
    "--images", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder of clean images."
)
@click.option(
    "--sigma",
    "sigmas",
    type=click.FloatRange(min=0),
    multiple=True,
    help="Noise level on the scale 0..255, repeatable [default: 15 25 50].",
)
@click.option("--told", is_flag=True, help="Tell the model the level; without it the model's own way to know it is judged.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the noise.")
@click.option("--device", default="cpu", show_default=True, help="Device, as for dae-run.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads [default: those available].")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("-v", "--verbose", is_flag=True, help="Print the figures of each image.")
def command(
    model: str,
    images: Path,
    sigmas: tuple[float, ...],
    told: bool,
    seed: int,
    device: str,
    threads: int | None,
    as_json: bool,
    verbose: bool,
) -> None:
    """Measure PSNR of a model on the images of a folder with white Gaussian noise, and without noise.

    Gray models get color images as luma; color models get gray images as equal channels.
    """
    paths = find_images(images)
    if not paths:
        raise InputError(f"{images} holds no images. Give a folder of clean images with --images.")
    with Denoiser(model, device, threads) as denoiser:
        scores = [score_gaussian(denoiser, paths, sigma, seed, told) for sigma in dict.fromkeys((0.0, *(sigmas or SIGMAS)))]
        name = denoiser.model.name
    if as_json:
        click.echo(json.dumps({"model": name, "seed": seed, "scores": [_as_json(score) for score in scores]}, indent=1))
        return
    click.echo(f"{name}: mean PSNR over {len(paths)} images, seed {seed}")
    for score in scores:
        click.echo("\n".join(_lines(score, verbose)))


def _lines(score: SigmaScore, verbose: bool) -> Iterator[str]:
    yield f"sigma {score.sigma:<5g} noisy {score.noisy_psnr_db:6.2f} dB   denoised {score.psnr_db:6.2f} dB"
    for image in score.images if verbose else ():
        yield f"    {image.name:24} {image.noisy_psnr_db:6.2f} dB   {image.psnr_db:15.2f} dB"


def _as_json(score: SigmaScore) -> dict[str, object]:
    """Return the score with null for infinity, which JSON cannot hold."""
    document = {"noisy_psnr_db": score.noisy_psnr_db, "psnr_db": score.psnr_db}
    images = [{key: _finite(value) for key, value in asdict(image).items()} for image in score.images]
    return {"sigma": score.sigma, **{key: _finite(value) for key, value in document.items()}, "images": images}


def _finite(value: object) -> object:
    return None if value == math.inf else value


if __name__ == "__main__":
    run_command(command)
