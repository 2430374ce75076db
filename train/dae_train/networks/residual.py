"""Residual networks as Keras models of standard layers.

One that is given the noise level adds a bias to each channel of its first layer, made from the level by two dense layers.
Below 5/255 its correction fades with the level: at level 0 the output is the image, and so it is in INT8. See
docs/decisions/0007-noise-level-input.md.
"""

from __future__ import annotations

import string

import keras
from keras import layers

from dae_runtime.contract import SIGMA_NAME

from ..settings.networks import ResidualSettings

NEARLY_ZERO = 0.01
"""Initial variance of a residual branch relative to its input: the network starts as the identity.

Zhang, Dauphin, Ma: Fixup initialization: residual learning without normalization. ICLR 2019, show that this trains stably.
"""

HIDDEN_UNITS = 32
"""Of the branch that makes biases from the noise level."""
USUAL_LEVELS = 10.0
"""What brings usual levels, up to 60/255, to about 1."""
FULL_LEVEL = 5 / 255
"""From this level on the correction counts in full, below in proportion to the level."""
CORRECTION = "correction"
WITH_LEVEL = "with_sigma"
"""Layer that adds the biases; its sum is rounded like any other output."""
LEVEL_LAYERS = (
    *("sigma_scale", "sigma_hidden", "sigma_bias", "sigma_place"),
    *("sigma_share", "sigma_limit", "sigma_gain", CORRECTION),
)
"""Layers that work on the noise level: in float32 in every precision."""


def build_residual(settings: ResidualSettings, dtype: str, edge_dtype: str) -> keras.Model:
    """Build a residual denoiser with fresh weights.

    Args:
        settings: The network; `channels` must be set.
        dtype: Keras dtype policy of all layers but the last two.
        edge_dtype: Policy of the layers that compute the correction and add it to the image.

    Returns:
        A functional model from (N, H, W, C) to the same shape, in [0, 1] with a sigmoid, else nominally and not clipped. H and
        W are free multiples of the alignment. With `sigma` it has the inputs `noisy` and `sigma`, in this order: the latter
        (N, 1), the standard deviation of the noise of each image on the scale where white is 1.
    """
    image = keras.Input((None, None, settings.channels), name="noisy")
    sigma = keras.Input((1,), name=SIGMA_NAME) if settings.sigma else None
    x = layers.Conv2D(settings.filters[0], *_edge(settings), padding="same", dtype=dtype, name="input_conv")(image)
    if sigma is not None:
        x = layers.Add(dtype=dtype, name=WITH_LEVEL)([x, _biases(sigma, settings.filters[0], edge_dtype)])
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
    if sigma is not None:
        correction = layers.Multiply(dtype=edge_dtype, name=CORRECTION)([correction, _gain(sigma, edge_dtype)])
    if settings.sigmoid:
        output = layers.Activation("sigmoid", dtype=edge_dtype, name="denoised")(correction)
    else:
        output = layers.Add(dtype=edge_dtype, name="denoised")([image, correction])
    return keras.Model(image if sigma is None else [image, sigma], output, name=settings.preset)


def _biases(sigma: keras.KerasTensor, filters: int, dtype: str) -> keras.KerasTensor:
    """Return what the level adds to each channel, (N, 1, 1, filters)."""
    x = layers.Rescaling(USUAL_LEVELS, dtype=dtype, name="sigma_scale")(sigma)
    x = layers.Dense(HIDDEN_UNITS, activation="relu", dtype=dtype, name="sigma_hidden")(x)
    x = layers.Dense(filters, dtype=dtype, name="sigma_bias")(x)
    return layers.Reshape((1, 1, filters), dtype=dtype, name="sigma_place")(x)


def _gain(sigma: keras.KerasTensor, dtype: str) -> keras.KerasTensor:
    """Return how much of the correction counts, (N, 1, 1, 1), 0 to 1."""
    x = layers.Rescaling(1 / FULL_LEVEL, dtype=dtype, name="sigma_share")(sigma)
    x = layers.ReLU(max_value=1.0, dtype=dtype, name="sigma_limit")(x)
    return layers.Reshape((1, 1, 1), dtype=dtype, name="sigma_gain")(x)


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
