"""The quality figures of a card, measured through the runtime."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import numpy.typing as npt

from dae_runtime.contract import gaussian_range
from dae_runtime.images import find_images, read_image
from dae_runtime.inference import Denoiser
from dae_runtime.pixels.arrays import FloatArray, color_channels, convert
from dae_runtime.pixels.metrics import mean_square_error, psnr_db, psnr_of_mse

from ..gaussian import SIGMAS, SigmaScore, add_gaussian, read_clean, score_gaussian
from .errors import CardError

DIGITS_AT_ONCE = 500
BCE_EPSILON = 1e-7
"""As in Keras: probabilities of exactly 0 or 1 have infinite loss."""
LARGEST_PSNR_DB = 100.0
"""PSNR of images without error, to keep means finite."""


@dataclass(frozen=True)
class GaussianScores:
    """By the Gaussian protocol of `dae_tools.gaussian`; the first without noise."""

    by_sigma: tuple[SigmaScore, ...]
    told: tuple[SigmaScore, ...]
    """The same where the model is told the level; empty for a model that is given none."""
    seed: int
    non_local_means_db: float | None
    """Mean PSNR of OpenCV's non-local means on the same noisy images at sigma 25; None without OpenCV."""


@dataclass(frozen=True)
class PairScores:
    """Scores of images with real noise, written with 8 bits as by dae-run."""

    pairs: int
    noisy_rmse: float
    """Over all pixels of all images, white being 1."""
    rmse: float
    noisy_psnr_db: float
    """Mean over the images."""
    psnr_db: float


@dataclass(frozen=True)
class DigitScores:
    """Scores of small images with Gaussian noise of fixed strength; means over all pixels of all images."""

    images: int
    sigma: float
    """White being 1."""
    clipped: bool
    noisy_mse: float
    bce: float
    mse: float

    @property
    def psnr_db(self) -> float:
        """Of the mean squared error over all images."""
        return psnr_of_mse(self.mse)

    @property
    def noisy_psnr_db(self) -> float:
        """Likewise."""
        return psnr_of_mse(self.noisy_mse)


Scores = GaussianScores | PairScores | DigitScores


def gaussian_scores(denoiser: Denoiser, folder: Path, seed: int, threads: int) -> GaussianScores:
    """Measure a model on the clean images of a folder at the published noise levels, and without noise."""
    paths = _images(folder)
    scores, told = (
        tuple(score_gaussian(denoiser, paths, sigma, seed, is_told) for sigma in (0.0, *SIGMAS)) if is_possible else ()
        for is_told, is_possible in ((False, True), (True, denoiser.model.sigma is not None))
    )
    return GaussianScores(scores, told, seed, _non_local_means(paths, denoiser.model.channels, seed, threads))


def pair_scores(denoiser: Denoiser, noisy: Path, clean: Path) -> PairScores:
    """Measure a model on noisy and clean images of the same relative paths.

    Raises:
        CardError: An image has no counterpart, or one of another size.
    """
    errors = [_errors(denoiser, path, clean / path.relative_to(noisy)) for path in _images(noisy)]
    pixels = sum(size for _, _, size in errors)
    before, after = (math.sqrt(sum(error[i] * error[2] for error in errors) / pixels) for i in (0, 1))
    psnr = [fmean(psnr_of_mse(error[i], largest_db=LARGEST_PSNR_DB) for error in errors) for i in (0, 1)]
    return PairScores(len(errors), before, after, *psnr)


def digit_scores(denoiser: Denoiser, archive: Path, noise: str, clip: bool, seed: int) -> DigitScores:
    """Measure a model on `x_test` of an .npz file.

    Args:
        denoiser: An opened gray model.
        archive: Holds `x_test`, uint8 (N, H, W).
        noise: `gaussian:S` with a number or a fraction.
        clip: Whether noisy values are clipped to [0, 1].
        seed: Seed of the noise.

    Raises:
        CardError: The file or the noise is of another kind.
    """
    sigma = fixed_sigma(noise)
    clean = read_digits(archive)
    sums = np.zeros(3)
    for start in range(0, len(clean), DIGITS_AT_ONCE):
        part = clean[start : start + DIGITS_AT_ONCE]
        noisy = add_gaussian(part, sigma * 255, (seed, start))
        noisy = np.clip(noisy, 0, 1) if clip else noisy
        target = convert(part, np.float32)
        denoised = denoiser.denoise(noisy)
        terms = (mean_square_error(target, noisy), _cross_entropy(target, denoised), mean_square_error(target, denoised))
        sums += np.asarray(terms) * len(part)
    noisy_mse, bce, mse = (float(value) for value in sums / len(clean))
    return DigitScores(len(clean), sigma, clip, noisy_mse, bce, mse)


def fixed_sigma(noise: str) -> float:
    """Return S of the noise `gaussian:S`.

    Raises:
        CardError: The noise is of another kind.
    """
    deviations = gaussian_range(noise)
    if deviations is None or deviations[0] != deviations[1]:
        raise CardError(f"the protocol digits needs a model trained with the noise gaussian:S, received {noise!r}.")
    return deviations[0]


def read_digits(archive: Path) -> npt.NDArray[np.uint8]:
    """Return `x_test` of an .npz file as (N, H, W, 1).

    Raises:
        CardError: There is no such array.
    """
    try:
        with np.load(archive) as content:
            digits: npt.NDArray[np.uint8] = content["x_test"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise CardError(
            f"{archive} has no readable array x_test: {error}. Give the mnist.npz of Keras with --test."
        ) from error
    if digits.dtype != np.uint8 or digits.ndim != 3:
        raise CardError(f"{archive}: x_test must be uint8 (N, H, W); received {digits.dtype} {digits.shape}.")
    return digits[..., None]


def _images(folder: Path) -> list[Path]:
    paths = find_images(folder, recursive=True)
    if not paths:
        raise CardError(f"{folder} holds no images to measure with. Give another --test.")
    return paths


def _errors(denoiser: Denoiser, noisy_path: Path, clean_path: Path) -> tuple[float, float, int]:
    """Return the mean squared errors before and after, white being 1, and the number of pixels."""
    if not clean_path.is_file():
        raise CardError(f"{noisy_path} has no clean counterpart {clean_path}. Give folders of the same relative paths.")
    noisy = convert(read_image(noisy_path).pixels, np.uint8)
    images = [_colors(image) for image in (read_image(clean_path).pixels, noisy, denoiser.denoise(noisy))]
    if images[0].shape != images[1].shape:
        raise CardError(
            f"{noisy_path} is {images[1].shape}, its clean counterpart {images[0].shape}: they must have equal sizes."
        )
    return mean_square_error(images[0], images[1]), mean_square_error(images[0], images[2]), images[0].size


def _colors(pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> FloatArray:
    image = convert(convert(pixels if pixels.ndim == 3 else pixels[..., None], np.uint8), np.float32)
    colors: FloatArray = image[..., : color_channels(image.shape[2])]
    return colors


def _cross_entropy(target: FloatArray, denoised: FloatArray) -> float:
    p = np.clip(denoised.astype(np.float64), BCE_EPSILON, 1 - BCE_EPSILON)
    return float(-np.mean(target * np.log(p) + (1 - target) * np.log1p(-p)))


def _non_local_means(paths: Sequence[Path], channels: int, seed: int, threads: int) -> float | None:
    from ..export_bench.peers import NLM_H, has_opencv, non_local_means

    def figures() -> Iterator[float]:
        for number, path in enumerate(paths):
            clean = read_clean(path, channels)
            noisy = add_gaussian(clean, NLM_H, (seed, number)).reshape(1, *clean.shape[:2], channels)
            yield psnr_db(clean, non_local_means(noisy, threads)().reshape(clean.shape), 255)

    return fmean(figures()) if has_opencv() else None
