"""Pairs of a noisy and a clean image, read from two folders, and what a model gains on them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from dae_runtime.errors import InputError
from dae_runtime.images import find_images, read_image
from dae_runtime.inference import Denoiser
from dae_runtime.jobs.references import References
from dae_runtime.pixels.advice import shared_level
from dae_runtime.pixels.arrays import Array
from dae_runtime.pixels.scores import Scores, score


@dataclass(frozen=True)
class Pair:
    """The scores of one pair."""

    name: str
    scores: Scores
    level: float | None
    """Noise level that the model was given, where white is 1."""

    @property
    def gain_db(self) -> float:
        """What is gained in PSNR; 0 for an image that is exact before and after."""
        before, after = self.scores.noisy_psnr_db, self.scores.denoised_psnr_db
        return 0.0 if before == after == math.inf else after - before


def read_pairs(noisy: Path, clean: Path, crop_px: int | None = None) -> Iterator[tuple[str, Array, Array]]:
    """Yield the name, the noisy and the clean pixels of each pair.

    Args:
        noisy: Folder of noisy images.
        clean: Folder of clean ones of the same names.
        crop_px: Side of the square in the middle to which both are cut; None for whole images.

    Raises:
        InputError: A folder holds no image, or none of the same name.
        ImageError: An image cannot be read.
    """
    sources = find_images(noisy)
    if not sources:
        raise InputError(f"the folder {noisy} holds no image.")
    references = References(list(map(str, sources)), noisy, clean)
    for source in sources:
        reference = references.of(source.name)
        if reference is not None:
            before, after = (middle(read_image(path).pixels, crop_px) for path in (source, reference))
            yield source.name, before, after


def middle(image: Array, side_px: int | None) -> Array:
    """Return the square in the middle of (H, W) or (H, W, C), cut off at the edges of a smaller image; all for None."""
    if side_px is None:
        return image
    top, left = (max(0, (length - side_px) // 2) for length in image.shape[:2])
    return image[top : top + side_px, left : left + side_px]


def score_pairs(
    denoiser: Denoiser,
    noisy: Path,
    clean: Path,
    sigma: float | None = None,
    crop_px: int | None = None,
    ensemble: int = 1,
) -> list[Pair]:
    """Denoise the noisy images and compare them with the clean ones of the same names.

    Args:
        denoiser: An opened model.
        noisy: Folder of noisy images.
        clean: Folder of clean ones.
        sigma: Noise level to tell the model, where white is 1; None for the advised one of each image.
        crop_px: As for `read_pairs`.
        ensemble: As for `Denoiser.denoise`.

    Raises:
        InputError: A folder holds no image, or none of the same name; the model cannot take such an `ensemble`.
        ImageError: An image cannot be read.
    """
    found = []
    for name, before, after in read_pairs(noisy, clean, crop_px):
        level = denoiser.advise(before) if sigma is None else sigma
        denoised = denoiser.denoise(before, sigma=level, ensemble=ensemble)
        found.append(Pair(name, score(after, before, denoised), level))
    return found


def level_of_all(denoiser: Denoiser, noisy: Path, clean: Path, crop_px: int | None = None) -> float:
    """Return the level to tell for all of the noisy images, as `dae-run --measure` gives it; arguments as above.

    Raises:
        InputError: The model estimates the noise by itself, the images are gray and in color, or as `score_pairs`.
        ImageError: An image cannot be read.
    """
    found = [denoiser.noise(before) for _, before, _ in read_pairs(noisy, clean, crop_px)]
    known = [noise for noise in found if noise is not None]
    if len(known) < len(found) or len({noise.is_gray for noise in known}) > 1:
        raise InputError(f"the model {denoiser.model.name} is told no level, or gray images are among others.")
    return shared_level(known)


@dataclass(frozen=True)
class Sweep:
    """PSNR of a model that is told one level after the other."""

    sigmas: tuple[float, ...]
    """Levels, where white is 1."""
    psnr_db: tuple[tuple[float, ...], ...]
    """For each level that of each image."""

    @property
    def means_db(self) -> tuple[float, ...]:
        """The mean over the images for each level."""
        return tuple(map(fmean, self.psnr_db))

    @property
    def best_sigma(self) -> float:
        """The level of the best mean."""
        return self.sigmas[self.means_db.index(max(self.means_db))]

    @property
    def best_each_db(self) -> float:
        """The mean where each image gets the level that is best for it."""
        return fmean(map(max, zip(*self.psnr_db, strict=True)))


def sweep_levels(
    denoiser: Denoiser,
    noisy: Path,
    clean: Path,
    sigmas: Sequence[float],
    crop_px: int | None = None,
    ensemble: int = 1,
) -> Sweep:
    """Tell a model one level after the other; see `score_pairs`.

    Raises:
        InputError: The model estimates the noise by itself, or as `score_pairs`.
    """
    runs = [score_pairs(denoiser, noisy, clean, sigma, crop_px, ensemble) for sigma in sigmas]
    return Sweep(tuple(sigmas), tuple(tuple(pair.scores.denoised_psnr_db for pair in run) for run in runs))
