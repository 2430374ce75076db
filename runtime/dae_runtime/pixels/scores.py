"""Compare noisy and denoised images with their clean references."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from ..errors import InputError
from .arrays import Array, as_batch, as_image, color_channels, convert
from .metrics import psnr_db, ssim


@dataclass(frozen=True)
class Scores:
    """PSNR and SSIM against the clean reference before and after denoising."""

    noisy_psnr_db: float
    denoised_psnr_db: float
    noisy_ssim: float
    denoised_ssim: float


def score(clean: Array, noisy: Array, denoised: Array) -> Scores:
    """Compare a noisy and a denoised image with the clean reference; alpha is ignored.

    Args:
        clean: (H, W) or (H, W, C); uint8, uint16 or float32 in [0, 1].
        noisy: Likewise, of the same size and color channels.
        denoised: Likewise.

    Raises:
        InputError: The sizes or the numbers of color channels differ.
    """
    reference, before, after = (_colors(image) for image in (clean, noisy, denoised))
    if reference.shape != before.shape:
        raise InputError(f"the reference has the shape {clean.shape}, the image {noisy.shape}; they must show the same image.")
    return Scores(psnr_db(reference, before), psnr_db(reference, after), ssim(reference, before), ssim(reference, after))


def mean_scores(scores: Sequence[Scores]) -> Scores:
    """Return the mean of each figure over images; a mean PSNR is infinite if any PSNR is.

    Raises:
        InputError: The sequence is empty.
    """
    if not scores:
        raise InputError("there are no scores to average.")
    psnr = [[each.noisy_psnr_db for each in scores], [each.denoised_psnr_db for each in scores]]
    noisy_psnr, denoised_psnr = (math.inf if math.inf in column else fmean(column) for column in psnr)
    return Scores(
        noisy_psnr,
        denoised_psnr,
        fmean(each.noisy_ssim for each in scores),
        fmean(each.denoised_ssim for each in scores),
    )


def _colors(image: Array) -> Array:
    batch = as_batch(as_image(image))
    return convert(batch[0, ..., : color_channels(batch.shape[3])], "float32")
