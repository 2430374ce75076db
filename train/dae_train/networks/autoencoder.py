"""Convolutional autoencoders as Keras models of standard layers."""

from __future__ import annotations

import math

import keras
from keras import layers

from ..errors import ConfigError
from ..settings.networks import Architecture, CustomSettings, NetworkSettings, ResidualSettings
from .residual import build_residual

FULL_PRECISION = "float32"


def build_network(settings: Architecture, dtype: str = FULL_PRECISION) -> keras.Model:
    """Build a denoiser with fresh weights.

    Args:
        settings: The network; `channels` must be set.
        dtype: Keras dtype policy of all layers but the last, which stays in float32.

    Returns:
        A functional model from (N, H, W, C) to the same shape, float32 in [0, 1]; a residual network may slightly exceed the
        range. With a vector latent H and W are `image_px`, and the model consists of the models `encoder` and `decoder`;
        otherwise H and W are free multiples of the alignment.

    Raises:
        ConfigError: `channels` is None, or the settings refer to a network of the calling program.
    """
    if settings.channels is None:
        raise ConfigError("model.channels must be 1 or 3 to build a network, not None.")
    if isinstance(settings, CustomSettings):
        raise ConfigError("a custom network cannot be built from its settings. Pass the network itself.")
    if isinstance(settings, ResidualSettings):
        return build_residual(settings, dtype, FULL_PRECISION)
    shape = (settings.image_px, settings.image_px, settings.channels)
    image = keras.Input(shape, name="noisy")
    if settings.z_dim is None:
        output = _decode(_encode(image, settings, dtype), settings, dtype)
    else:
        output = _vector_decoder(settings, dtype)(_vector_encoder(settings, dtype)(image))
    return keras.Model(image, output, name=settings.preset)


def start_at_mean(denoiser: keras.Model, mean: float) -> None:
    """Set the bias of the last layer so that an untrained network returns the mean of the training pixels.

    Residual networks start as the identity and are not changed. See docs/decisions/0002-mse-collapse.md.

    Args:
        denoiser: As `build_network` returns it; changed in place.
        mean: Mean value of the clean training images in [0, 1], clipped to [0.01, 0.99] for a finite logit.
    """
    if not isinstance(denoiser.layers[-1], layers.Activation) and "decoder" not in [layer.name for layer in denoiser.layers]:
        return
    inside = min(max(mean, 0.01), 0.99)
    last_layer(denoiser).bias.assign([math.log(inside / (1 - inside))] * denoiser.output_shape[-1])


def last_layer(denoiser: keras.Model) -> layers.Layer:
    """Return the last convolution of a network that `build_network` returned."""
    names = [layer.name for layer in denoiser.layers]
    return (denoiser.get_layer("decoder") if "decoder" in names else denoiser).get_layer("output_conv")


def _vector_encoder(settings: NetworkSettings, dtype: str) -> keras.Model:
    image = keras.Input((settings.image_px, settings.image_px, settings.channels), name="noisy")
    flat = layers.Flatten(dtype=dtype, name="encoder_flatten")(_encode(image, settings, dtype))
    return keras.Model(image, layers.Dense(settings.z_dim, dtype=dtype, name="latent")(flat), name="encoder")


def _vector_decoder(settings: NetworkSettings, dtype: str) -> keras.Model:
    assert settings.image_px is not None  # the settings require it with z_dim
    side = settings.image_px // settings.alignment_px
    shape = (side, side, settings.encoder_filters[-1])
    latent = keras.Input((settings.z_dim,), name="latent")
    flat = layers.Dense(math.prod(shape), dtype=dtype, name="decoder_dense")(latent)
    grid = layers.Reshape(shape, dtype=dtype, name="decoder_reshape")(flat)
    return keras.Model(latent, _decode(grid, settings, dtype), name="decoder")


def _encode(x: keras.KerasTensor, settings: NetworkSettings, dtype: str) -> keras.KerasTensor:
    rows = zip(settings.encoder_filters, settings.encoder_kernels_px, settings.encoder_strides, strict=True)
    for number, (filters, kernel_px, stride) in enumerate(rows):
        name = f"encoder_conv_{number}"
        x = layers.Conv2D(filters, kernel_px, strides=stride, padding="same", dtype=dtype, name=name)(x)
        x = _after_conv(x, settings, f"encoder_{{}}_{number}", dtype)
    return x


def _decode(x: keras.KerasTensor, settings: NetworkSettings, dtype: str) -> keras.KerasTensor:
    kernels_px, strides = settings.decoder_kernels_px, settings.decoder_strides
    for number, filters in enumerate(settings.decoder_filters):
        x = layers.Conv2DTranspose(
            filters, kernels_px[number], strides=strides[number], padding="same", dtype=dtype, name=f"decoder_conv_{number}"
        )(x)
        x = _after_conv(x, settings, f"decoder_{{}}_{number}", dtype)
    x = layers.Conv2DTranspose(
        settings.channels, kernels_px[-1], strides=strides[-1], padding="same", dtype=FULL_PRECISION, name="output_conv"
    )(x)
    return layers.Activation("sigmoid", dtype=FULL_PRECISION, name="denoised")(x)


def _after_conv(x: keras.KerasTensor, settings: NetworkSettings, name: str, dtype: str) -> keras.KerasTensor:
    x = layers.LeakyReLU(settings.negative_slope, dtype=dtype, name=name.format("activation"))(x)
    if settings.batch_norm:
        x = layers.BatchNormalization(dtype=dtype, name=name.format("norm"))(x)
    if settings.dropout:
        x = layers.Dropout(settings.dropout, dtype=dtype, name=name.format("dropout"))(x)
    return x
