"""Residual networks as Keras models of standard layers."""

from __future__ import annotations

import string

import keras
from keras import layers

from ..settings.networks import ResidualSettings

NEARLY_ZERO = 0.01
"""Initial variance of a residual branch relative to its input: the network starts as the identity.

Zhang, Dauphin, Ma: Fixup initialization: residual learning without normalization. ICLR 2019, show that this trains stably.
"""


def build_residual(settings: ResidualSettings, dtype: str, edge_dtype: str) -> keras.Model:
    """Build a residual denoiser with fresh weights.

    Args:
        settings: The network; `channels` must be set.
        dtype: Keras dtype policy of all layers but the last two.
        edge_dtype: Policy of the layers that compute the correction and add it to the image.

    Returns:
        A functional model from (N, H, W, C) to the same shape, in [0, 1] with a sigmoid, else nominally and not clipped. H and
        W are free multiples of the alignment.
    """
    image = keras.Input((None, None, settings.channels), name="noisy")
    x = layers.Conv2D(settings.filters[0], *_edge(settings), padding="same", dtype=dtype, name="input_conv")(image)
    skips = []
    for level, filters in enumerate(settings.filters):
        if level:
            x = layers.Conv2D(filters, 2, strides=2, padding="same", dtype=dtype, name=f"down_{level}")(x)
        x = _blocks(x, filters, settings.encoder_blocks[level], settings.block_layers, f"encoder_{level}", dtype)
        skips.append(x)
    for level in reversed(range(len(settings.decoder_blocks))):
        filters = settings.filters[level]
        x = _upsample(x, filters, 2, 2, dtype, f"up_{level}")
        x = layers.Add(dtype=dtype, name=f"skip_{level}")([x, skips[level]])
        x = _blocks(x, filters, settings.decoder_blocks[level], settings.block_layers, f"decoder_{level}", dtype)
    correction = _upsample(x, settings.channels, *_edge(settings), edge_dtype, "output_conv")
    if settings.sigmoid:
        output = layers.Activation("sigmoid", dtype=edge_dtype, name="denoised")(correction)
    else:
        output = layers.Add(dtype=edge_dtype, name="denoised")([image, correction])
    return keras.Model(image, output, name=settings.preset)


def _edge(settings: ResidualSettings) -> tuple[int, int]:
    """Return kernel and stride of the first and last layer, half overlapping to avoid grid artifacts."""
    return 2 * settings.stride_px, settings.stride_px


def _blocks(x: keras.KerasTensor, filters: int, count: int, depth: int, name: str, dtype: str) -> keras.KerasTensor:
    for number in range(count):
        place, y = f"{name}_{number}", x
        for layer in string.ascii_lowercase[: depth - 1]:
            y = layers.Conv2D(filters, 3, padding="same", activation="relu", dtype=dtype, name=f"{place}_{layer}")(y)
        last = f"{place}_{string.ascii_lowercase[depth - 1]}"
        y = layers.Conv2D(filters, 3, padding="same", kernel_initializer=_start(), dtype=dtype, name=last)(y)
        x = layers.Add(dtype=dtype, name=f"{place}_sum")([x, y])
    return x


def _upsample(
    x: keras.KerasTensor, filters: int | None, kernel_px: int, stride: int, dtype: str, name: str
) -> keras.KerasTensor:
    return layers.Conv2DTranspose(
        filters, kernel_px, strides=stride, padding="same", kernel_initializer=_start(), dtype=dtype, name=name
    )(x)


def _start() -> keras.initializers.Initializer:
    return keras.initializers.VarianceScaling(NEARLY_ZERO)
