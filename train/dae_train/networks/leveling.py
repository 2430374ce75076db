"""Trained networks carried over into networks of the same layers that are given the noise level besides.

The biases that the level adds start at zero, so that from the level 5/255 on the network makes the same image to begin with.
"""

from __future__ import annotations

from typing import Any

from dae_runtime.contract import SIGMA_NAME


def can_take_level(trained: Any, network: Any) -> bool:
    """Return whether `take_level` can carry one network over into another: the same layers, but for those of the level.

    Args:
        trained: A `keras.Model` that is not given the level.
        network: A `keras.Model`.
    """
    shapes = [_shapes(model) for model in (trained, network)]
    ours = {name: found for name, found in shapes[1].items() if not name.startswith(SIGMA_NAME)}
    return len(trained.inputs) == 1 and len(network.inputs) == 2 and shapes[0] == ours


def take_level(trained: Any, network: Any) -> None:
    """Put a trained network into one that is given the noise level.

    Args:
        trained: A `keras.Model`.
        network: A `keras.Model` with fresh weights, for which `can_take_level` is true; changed in place.
    """
    for name in _shapes(trained):
        network.get_layer(name).set_weights(trained.get_layer(name).get_weights())
    biases = network.get_layer("sigma_bias")
    biases.set_weights([0 * weight for weight in biases.get_weights()])


def _shapes(model: Any) -> dict[str, list[tuple[int, ...]]]:
    return {layer.name: [tuple(weight.shape) for weight in layer.weights] for layer in model.layers if layer.weights}
