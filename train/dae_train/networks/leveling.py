"""Trained networks carried over into networks of the same layers that are given the noise level besides.

Those make their correction in units of the level. The weights of the last layer are therefore multiplied by 12: at the level
1/12, about 21/255, the network makes the same image to begin with. The biases that the level adds start at zero.
"""

from __future__ import annotations

from typing import Any

from dae_runtime.contract import SIGMA_NAME

UNITS = 12.0
"""1 over the level at which the correction is that of the network started from."""


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
        factor = UNITS if name == "output_conv" else 1
        network.get_layer(name).set_weights([factor * weight for weight in trained.get_layer(name).get_weights()])
    biases = network.get_layer("sigma_bias")
    biases.set_weights([0 * weight for weight in biases.get_weights()])


def _shapes(model: Any) -> dict[str, list[tuple[int, ...]]]:
    return {layer.name: [tuple(weight.shape) for weight in layer.weights] for layer in model.layers if layer.weights}
