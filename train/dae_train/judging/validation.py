"""How the network is judged after each epoch, with clean images or without."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data.image_set import FloatArray
from ..learning.losses import LOSSES, Loss, weight
from ..learning.supervision import hide, masked_loss, shot_variance
from ..settings.config import RunConfig
from ..settings.noise import VALIDATION_SEED
from ..settings.training import BY_LEVEL, NOISE2NOISE
from .image_metrics import Psnr, Ssim, psnr_of_mse

SMALLEST_ESTIMATE = 1e-6
"""An estimated error may fall below 0; it is not told from 60 dB."""


@dataclass(frozen=True)
class Judging:
    """What an evaluating model needs."""

    given: list[FloatArray]
    """What the network gets: noisy images, (N, H, W, C), and their levels, (N, 1), if it is given them."""
    target: FloatArray
    """What its output is compared with."""
    loss: Loss
    metrics: list[Any]
    """Their names, with `val_` before them, are columns of the history."""
    weights: FloatArray | None = None
    """What the loss of each image weighs, (N, 1, 1); None for all alike."""


class EstimatedPsnr(Psnr):
    """PSNR that the output would have against clean images, from its error against noisy ones, in dB.

    The noise of the target is independent of the output and adds its variance to the mean square error: taken off again, an
    unbiased estimate of the error is left.
    """

    def __init__(self, noise_variance: float, name: str) -> None:
        super().__init__(name=name)
        self.noise_variance = noise_variance

    def result(self) -> Any:
        """Return the estimate so far, in dB, at most 60."""
        return psnr_of_mse(self.mean_square_error() - self.noise_variance, SMALLEST_ESTIMATE)


def judging(config: RunConfig, given: list[FloatArray], target: FloatArray) -> Judging:
    """Choose how to judge.

    Args:
        config: The run.
        given: Validation images, (N, H, W, C) in [0, 1], and their levels, (N, 1), if the network is given them.
        target: The clean ones, or other noisy shots; not looked at where the network learns from its input alone.

    Returns:
        With clean images `loss`, `psnr` and `ssim`; with other shots `loss` against those and `est_psnr`, an estimate of the
        PSNR; with single noisy images the `loss` at pixels that the network does not see, the same ones in every epoch.
    """
    training, noisy = config.training, given[0]
    if config.has_clean:
        weights = np.asarray(weight(given[1]))[:, :, None] if training.loss == BY_LEVEL else None
        return Judging(given, target, LOSSES[training.loss], [Psnr(name="psnr"), Ssim(name="ssim")], weights)
    if training.supervision == NOISE2NOISE:
        estimate = EstimatedPsnr(shot_variance(noisy, target), name="est_psnr")
        return Judging(given, target, LOSSES[training.loss], [estimate])
    shown, target = hide(noisy, VALIDATION_SEED)
    return Judging([shown], target, masked_loss(training), [])
