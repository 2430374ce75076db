"""Custom networks of the calling program: their image requirements, and copies."""

from __future__ import annotations

import math
from typing import Any

import keras

from ..errors import ConfigError
from ..settings.networks import CustomSettings
from ..settings.trained_file import UNREADABLE

LARGEST_ALIGNMENT_PX = 256
"""Limit of the model file."""
_PROBE_PX = 512  # large enough for any practical network


def custom_settings(network: keras.Model) -> CustomSettings:
    """Return the settings that describe a network.

    Raises:
        ConfigError: It is not a functional model from images to images of the same size, or cannot be saved and loaded.
    """
    if not isinstance(network, keras.Model) or not hasattr(network, "inputs"):
        raise ConfigError(f"the custom network must be a functional keras.Model, not {type(network).__name__}.")
    inputs, outputs = ([tuple(tensor.shape) for tensor in edge or ()] for edge in (network.inputs, network.outputs))
    is_image = len(inputs) == 1 and len(inputs[0]) == 4 and inputs[0][3] in (1, 3) and inputs[0][1] == inputs[0][2]
    if not is_image or len(outputs) != 1:
        raise ConfigError(
            "the custom network must map one image to one image, (N, H, W, C) with 1 or 3 channels and H and W free or "
            f"equal; received a network from {inputs} to {outputs}."
        )
    copy_network(network)
    _, side, _, channels = inputs[0]
    return CustomSettings(channels=channels, alignment_px=_alignment(network), image_px=side)


def copy_network(network: keras.Model, dtype: str | None = None) -> keras.Model:
    """Return a copy of a network, with its weights.

    Args:
        network: A functional model; not changed.
        dtype: Keras dtype policy of all layers but the last, which stays in float32. None: as they are.

    Raises:
        ConfigError: A layer cannot be rebuilt from its configuration.
    """
    try:
        loaded = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(network))
        copied = loaded if dtype is None else keras.models.clone_model(loaded, clone_function=_in_dtype(loaded, dtype))
        copied.set_weights(network.get_weights())
    except UNREADABLE as error:
        raise ConfigError(
            f"the custom network cannot be saved and loaded ({error}). Use Keras layers; give a custom layer "
            "get_config and the decorator keras.saving.register_keras_serializable."
        ) from error
    return copied


def _in_dtype(network: keras.Model, dtype: str, is_last: bool = True) -> Any:
    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        last = is_last and layer is network.layers[-1]
        if isinstance(layer, keras.Model):
            return keras.models.clone_model(layer, clone_function=_in_dtype(layer, dtype, last))
        return type(layer).from_config({**layer.get_config(), "dtype": "float32" if last else dtype})

    return clone


def _alignment(network: keras.Model) -> int:
    """Return the smallest number whose multiples are heights and widths that the network keeps."""
    if network.inputs[0].shape[1] is not None:
        if tuple(network.outputs[0].shape) != tuple(network.inputs[0].shape):
            raise ConfigError(_changes_shape(network))
        return 1
    for alignment_px in range(1, LARGEST_ALIGNMENT_PX + 1):
        first = math.ceil(_PROBE_PX / alignment_px)
        if all(_keeps(network, alignment_px * count) for count in range(first, first + 4)):
            return alignment_px
    raise ConfigError(_changes_shape(network))


def _keeps(network: keras.Model, side_px: int) -> bool:
    shape = (1, side_px, side_px, network.inputs[0].shape[3])
    try:
        return tuple(network.compute_output_spec(keras.KerasTensor(shape)).shape) == shape
    except ValueError:  # a layer adds or concatenates different sizes
        return False


def _changes_shape(network: keras.Model) -> str:
    return (
        "the custom network must keep the size and number of channels of images; received one from "
        f"{tuple(network.inputs[0].shape)} to {tuple(network.outputs[0].shape)}."
    )
