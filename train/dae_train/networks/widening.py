"""Trained networks copied into wider ones: more channels, initially the same output.

Source: Chen, Goodfellow, Shlens: Net2Net: accelerating learning via knowledge transfer. ICLR 2016. There new units are copies
of old ones; here they keep their random initialization, and the weights from new to old units start at zero. So no two units
start equal, and no noise is needed to break the symmetry.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dae_runtime.contract import SIGMA_NAME


def can_widen(trained: Any, network: Any) -> bool:
    """Return whether `widen` can copy one network into another: the same layers, none narrower, for the same images.

    Layers must be convolutions (plain or transposed, without groups) or channelwise, so neither dense nor normalization; those
    that tell the noise level may be dense.

    Args:
        trained: A `keras.Model`.
        network: The wider `keras.Model`.
    """
    names = [[layer.name for layer in model.layers] for model in (trained, network)]
    return (
        trained.input_shape == network.input_shape
        and names[0] == names[1]
        and all(
            type(old) is type(new)
            and (_is_channelwise(old) or _is_told(old, new) or (_is_convolution(old) and _fits(old, new)))
            for old, new in zip(trained.layers, network.layers, strict=True)
        )
    )


def widen(trained: Any, network: Any) -> None:
    """Copy a trained network into a wider one with initially the same output.

    Args:
        trained: A `keras.Model`.
        network: A `keras.Model` with fresh weights, for which `can_widen` is true; changed in place.
    """
    for old, new in zip(trained.layers, network.layers, strict=True):
        if old.get_weights():
            new.set_weights(_widened(old, new))


def _widened(old: Any, new: Any) -> list[npt.NDArray[np.float32]]:
    kernel, bias = (np.array(weight) for weight in new.get_weights())
    old_kernel, old_bias = old.get_weights()
    inputs, outputs = _axes(old)
    keep = [slice(None)] * kernel.ndim
    keep[outputs] = slice(old_kernel.shape[outputs])
    kernel[tuple(keep)] = 0
    keep[inputs] = slice(old_kernel.shape[inputs])
    kernel[tuple(keep)] = old_kernel
    bias[: len(old_bias)] = old_bias
    return [kernel, bias]


def _axes(layer: Any) -> tuple[int, int]:
    """Return the input and output channel axes of a kernel."""
    import keras

    last = layer.kernel.ndim - 1
    return (last, last - 1) if isinstance(layer, keras.layers.Conv2DTranspose) else (last - 1, last)


def _is_channelwise(layer: Any) -> bool:
    import keras

    kinds = (keras.layers.InputLayer, keras.layers.Add, keras.layers.Multiply, keras.layers.Activation)
    return isinstance(layer, kinds) or (layer.name.startswith(SIGMA_NAME) and not layer.weights)


def _is_told(old: Any, new: Any) -> bool:
    """Return whether two layers are dense, tell the level, and the new one is no narrower."""
    import keras

    return old.name.startswith(SIGMA_NAME) and isinstance(old, keras.layers.Dense) and _no_narrower(old, new)


def _is_convolution(layer: Any) -> bool:
    import keras

    plain = isinstance(layer, (keras.layers.Conv2D, keras.layers.Conv2DTranspose))
    return plain and layer.use_bias and getattr(layer, "groups", 1) == 1


def _fits(old: Any, new: Any) -> bool:
    """Return whether two convolutions differ only in channels, of which the new one has no fewer."""
    alike = ("kernel_size", "strides", "padding", "dilation_rate")
    same = old.activation == new.activation and all(getattr(old, name) == getattr(new, name) for name in alike)
    return same and _no_narrower(old, new)


def _no_narrower(old: Any, new: Any) -> bool:
    return all(small <= large for small, large in zip(old.kernel.shape, new.kernel.shape, strict=True))
