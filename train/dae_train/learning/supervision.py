"""Training targets without clean images: a second noisy shot, or the neighbors of each pixel.

Everything runs inside the fitted model, on the device. `ReseedEpoch` reseeds the random generators, so that a resumed run
samples the same numbers.

Source:
    Lehtinen et al.: Noise2Noise: learning image restoration without clean data. ICML 2018. The mean square error to a noisy
    image is that to the clean one plus the variance of its noise, which no network changes: both have the same minimum.
    Krull, Buchholz, Jug: Noise2Void: learning denoising from single noisy images. CVPR 2019. From the neighbors of a masked
    pixel a network can predict the image, but not noise that is independent between pixels.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops, random

from ..data.image_set import FloatArray
from ..settings.training import NOISE2NOISE, NOISE2VOID, TrainingSettings
from .losses import Loss, loss_named

CELL_PX = 8
"""One pixel of each square of this side is masked: 1.6 %, evenly distributed."""
REACH_PX = 2
"""Largest distance in rows and columns of the pixel that replaces a masked one."""


class Swap(keras.layers.Layer):  # type: ignore[misc]
    """Swaps input and target of a random half of a batch; never part of a saved model."""

    def __init__(self, seed: int) -> None:
        super().__init__(name="swap", dtype="float32", trainable=False)
        self.generator = random.SeedGenerator(seed)

    def call(self, image: Any, target: Any) -> tuple[Any, Any]:
        """Return two (N, H, W, C) batches."""
        swapped = random.uniform((ops.shape(image)[0], 1, 1, 1), seed=self.generator) < 0.5
        return ops.where(swapped, target, image), ops.where(swapped, image, target)

    def compute_output_shape(self, image_shape: Any, target_shape: Any) -> tuple[Any, Any]:
        """Return the shapes unchanged."""
        return image_shape, target_shape


class BlindSpot(keras.layers.Layer):  # type: ignore[misc]
    """Replaces one pixel of each cell with a random neighbor; never part of a saved model."""

    def __init__(self, seed: int) -> None:
        super().__init__(name="blind_spot", dtype="float32", trainable=False)
        self.generator = random.SeedGenerator(seed)

    def call(self, images: Any) -> tuple[Any, Any]:
        """Return the masked images, (N, H, W, C), and the mask, float32 (N, H, W, 1) of 0 and 1."""
        height, width, channels = images.shape[1:]
        cells = (ops.shape(images)[0], math.ceil(height / CELL_PX), math.ceil(width / CELL_PX))
        mask = self._mask(cells)[:, :height, :width]
        row, column = ops.arange(height)[None, :, None], ops.arange(width)[None, None, :]
        down, right = (_spread(offset)[:, :height, :width] * mask for offset in self._offsets(cells))
        place = _inside(row, down, height) * width + _inside(column, right, width)
        pixels = ops.reshape(images, (-1, height * width, channels))
        places = ops.repeat(ops.reshape(place, (-1, height * width, 1)), channels, axis=2)
        shown = ops.reshape(ops.take_along_axis(pixels, places, axis=1), ops.shape(images))
        return shown, ops.cast(mask, "float32")[..., None]

    def _mask(self, cells: tuple[Any, int, int]) -> Any:
        count, rows, columns = cells
        hidden = ops.one_hot(self._choose(CELL_PX**2, cells), CELL_PX**2, dtype="int32")
        squares = ops.transpose(ops.reshape(hidden, (count, rows, columns, CELL_PX, CELL_PX)), (0, 1, 3, 2, 4))
        return ops.reshape(squares, (count, rows * CELL_PX, columns * CELL_PX))

    def _offsets(self, cells: tuple[Any, int, int]) -> tuple[Any, Any]:
        """Return a nonzero offset in rows and columns for each cell."""
        side = 2 * REACH_PX + 1
        number = self._choose(side**2 - 1, cells)
        number = ops.where(number < side**2 // 2, number, number + 1)
        return number // side - REACH_PX, number % side - REACH_PX

    def _choose(self, among: int, shape: tuple[Any, ...]) -> Any:
        return ops.cast(random.uniform(shape, 0, among, seed=self.generator), "int32")

    def compute_output_shape(self, images_shape: tuple[Any, ...]) -> tuple[Any, Any]:
        """Return the shapes of images and mask."""
        return images_shape, (*images_shape[:3], 1)


def _spread(cells: Any) -> Any:
    """Repeat the value of each cell for its pixels."""
    return ops.repeat(ops.repeat(cells, CELL_PX, axis=1), CELL_PX, axis=2)


def _inside(place: Any, offset: Any, length: int) -> Any:
    """Return place + offset, or place - offset if that is outside the image."""
    moved = place + offset
    return ops.where((moved < 0) | (moved >= length), place - offset, moved)


def connect(
    training: TrainingSettings, denoiser: keras.Model, noise: keras.layers.Layer, image: Any, target: Any
) -> tuple[list[Any], Any, Any]:
    """Connect image and target of a feed with the denoiser.

    Returns:
        The network input: the noisy image, and its level (N, 1) if the network is given it; the target and the output, both
        (N, H, W, C) like the image; with noise2void the output equals the target outside the mask.
    """
    if len(denoiser.inputs) > 1:  # the noise then tells its level
        given = list(noise(image, target))
        return given, target, denoiser(given)
    if training.supervision == NOISE2NOISE:
        image, target = Swap(training.seed)(image, target)
    noisy = noise(image)
    if training.supervision != NOISE2VOID:
        return [noisy], target, denoiser(noisy)
    shown, mask = BlindSpot(training.seed)(noisy)
    return [noisy], noisy, ops.where(mask > 0, ops.cast(denoiser(shown), "float32"), noisy)


def loss_function(training: TrainingSettings, custom: Loss | None = None) -> Loss:
    """Return the loss of the tensors of `connect`; `custom` is that of the program, if any."""
    loss = custom or loss_named(training.loss)
    if training.supervision != NOISE2VOID:
        return loss
    return lambda target, output: loss(target, output) * CELL_PX**2  # the mean over masked pixels


def masked_loss(training: TrainingSettings, custom: Loss | None = None) -> Loss:
    """Return the loss over masked pixels, for the targets of `mask_pixels`; `custom` as in `loss_function`."""
    loss = loss_function(training, custom)

    def over_mask(target: Any, output: Any) -> Any:
        noisy, mask = target[..., :-1], target[..., -1:]
        return loss(noisy, ops.where(mask > 0, output, noisy))

    return over_mask


def mask_pixels(noisy: FloatArray, seed: int) -> tuple[FloatArray, FloatArray]:
    """Mask pixels once; return the masked images, and targets (N, H, W, C + 1) with the mask as last channel."""
    shown, mask = BlindSpot(seed)(ops.convert_to_tensor(noisy))
    return ops.convert_to_numpy(shown), np.concatenate([noisy, ops.convert_to_numpy(mask)], axis=-1)


def shot_variance(first: FloatArray, second: FloatArray) -> float:
    """Return the noise variance of two shots with equal noise: half the variance of the difference."""
    return float(np.mean(np.square(first.astype(np.float64) - second))) / 2
