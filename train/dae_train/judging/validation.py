"""Validation after each epoch, with or without clean images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data.image_set import FloatArray
from ..learning.losses import Loss, loss_named, weight
from ..learning.supervision import mask_pixels, masked_loss, shot_variance
from ..settings.config import RunConfig
from ..settings.noise import VALIDATION_SEED
from ..settings.training import BY_LEVEL, NOISE2NOISE
from .image_metrics import Psnr, Ssim, psnr_of_mse

SMALLEST_ESTIMATE = 1e-6
"""An estimated error may fall below 0; the PSNR is limited to 60 dB."""


@dataclass(frozen=True)
class ValidationSetup:
    """Inputs, targets, loss and metrics of validation."""

    given: list[FloatArray]
    """Network input: noisy images, (N, H, W, C), and their levels, (N, 1), if it is given them."""
    target: FloatArray
    loss: Loss
    metrics: list[Any]
    """Their names, prefixed with `val_`, are columns of the history."""
    weights: FloatArray | None = None
    """Loss weights of the images, (N, 1, 1); None for equal ones."""


class EstimatedPsnr(Psnr):
    """PSNR against clean images in dB, estimated from the error against noisy targets.

    Noise of the target that is independent of the output adds its variance to the mean squared error; subtracting it gives
    an unbiased estimate.
    """

    def __init__(self, noise_variance: float, name: str) -> None:
        super().__init__(name=name)
        self.noise_variance = noise_variance

    def result(self) -> Any:
        """Return the estimate so far, in dB, at most 60."""
        return psnr_of_mse(self.mean_square_error() - self.noise_variance, SMALLEST_ESTIMATE)


def validation_setup(
    config: RunConfig, given: list[FloatArray], target: FloatArray, custom_loss: Loss | None = None
) -> ValidationSetup:
    """Return the validation setup of a run.

    Args:
        config: The run.
        given: Validation images, (N, H, W, C) in [0, 1], and their levels, (N, 1), if the network is given them.
        target: Clean images, or other noisy shots; ignored with noise2void on noisy images.
        custom_loss: Loss function of the program, if any.

    Returns:
        With clean images `loss`, `psnr` and `ssim`; with other shots their `loss` and `est_psnr`, an estimate of the PSNR;
        with single noisy images the `loss` at masked pixels, the same in every epoch.
    """
    training, noisy = config.training, given[0]
    loss = custom_loss or loss_named(training.loss)
    if config.has_clean:
        weights = np.asarray(weight(given[1]))[:, :, None] if training.loss == BY_LEVEL else None
        metrics = [Psnr(name="psnr"), Ssim(name="ssim")]
        return ValidationSetup(given, target, loss, metrics, weights)
    if training.supervision == NOISE2NOISE:
        estimate = EstimatedPsnr(shot_variance(noisy, target), name="est_psnr")
        return ValidationSetup(given, target, loss, [estimate])
    shown, target = mask_pixels(noisy, VALIDATION_SEED)
    return ValidationSetup([shown], target, masked_loss(training, custom_loss), [])
