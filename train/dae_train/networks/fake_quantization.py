"""Quantization-aware training: networks that emulate the rounding of their INT8 export in float.

Rounding follows the export: kernels to signed 8 bits, symmetric, one scale per output channel, which is larger where two
neighboring weights of one sign would pass the limit that keeps sums exact on every processor (docs/processors.md);
activations to unsigned 8 bits over the range of the batch without outliers. Gradients use the straight-through estimator,
and are zero where a value is clipped.

Source:
    Jacob et al.: Quantization and training of neural networks for efficient integer-arithmetic-only inference. CVPR 2018.
    Bengio, Leonard, Courville: Estimating or propagating gradients through stochastic neurons. arXiv 1308.3432, 2013.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from dae_runtime.contract import EXACT_PAIR_LIMIT

from .residual import LEVEL_LAYERS, WITH_LEVEL

_OUTPUT_AXES = {
    layers.Conv2D: (3,),
    layers.Conv2DTranspose: (2,),
    layers.DepthwiseConv2D: (2, 3),
    layers.Dense: (1,),
}
"""Output channel axes of kernels."""
_ACTIVATIONS = (layers.ReLU, layers.LeakyReLU, layers.Activation)
_MERGING = (layers.Add, layers.Subtract, layers.Multiply, layers.Concatenate)
_SMALLEST = 1e-12  # least scale: a kernel or a batch may be all zeros


def fake_quantized(network: keras.Model, is_last: bool = True) -> keras.Model:
    """Return a network of the same structure that rounds kernels and activations.

    The output of a layer is rounded unless an activation follows, with which the export fuses it, or it is the output of the
    whole network, which the export returns in float or as pixels. In a network that is given the noise level the layers that
    process it are not rounded, as in the export, nor is the first layer; sums are rounded only where a layer with weights
    reads them.

    Args:
        network: A functional model with one output; not changed.
        is_last: Whether its output is that of the whole network.

    Returns:
        A new model with copies of the weights in the same order.
    """

    def clone(layer: layers.Layer) -> layers.Layer:
        is_output = layer is network.layers[-1]
        if isinstance(layer, keras.Model):
            return fake_quantized(layer, is_last and is_output)
        sums, exact = isinstance(layer, (*_ACTIVATIONS, *_MERGING)), _is_exact(layer, network)
        copy = type(layer).from_config(layer.get_config() | ({"dtype": "float32"} if sums or exact else {}))
        if exact or layer.name in LEVEL_LAYERS:
            return copy
        axes = next((axes for kind, axes in _OUTPUT_AXES.items() if isinstance(layer, kind)), ())
        rounds = not (is_last and is_output) and not _is_fused(layer, network) and layer not in kept
        reads_sum = bool(axes) and any(total.output is layer.input for total in kept)
        return Rounded(copy, axes, rounds, reads_sum) if axes or sums else copy

    kept = _kept_sums(network)
    twin = keras.models.clone_model(network, clone_function=clone)
    twin.set_weights(network.get_weights())
    return twin


def _is_exact(layer: layers.Layer, network: keras.Model) -> bool:
    """Tell whether a layer is the convolution of the image in a network that is given the noise level."""
    return len(network.inputs) > 1 and isinstance(layer, layers.Conv2D) and layer.input is network.inputs[0]


def _kept_sums(network: keras.Model) -> list[layers.Layer]:
    """Return the sums that later sums take unrounded: those of a network that is given the noise level."""
    sums = [layer for layer in network.layers if isinstance(layer, layers.Add) and layer.name != WITH_LEVEL]
    return sums if len(network.inputs) > 1 else []


def _is_fused(layer: layers.Layer, network: keras.Model) -> bool:
    users = [user for user in network.layers if any(t is layer.output for t in keras.tree.flatten(user.input))]
    return bool(users) and all(isinstance(user, _ACTIVATIONS) and user is not layer for user in users)


class Rounded(layers.Wrapper):  # type: ignore[misc]
    """A layer with rounded kernels and optionally rounded input and output; never part of a saved model."""

    def __init__(self, layer: layers.Layer, axes: tuple[int, ...], rounds_output: bool, rounds_input: bool) -> None:
        super().__init__(layer, name=layer.name, dtype="float32")
        self.axes, self.rounds_output, self.rounds_input = axes, rounds_output, rounds_input

    def call(self, inputs: Any) -> Any:
        """Return the output of the layer."""
        inputs = round_activation(inputs) if self.rounds_input else inputs
        rounded = [(variable, self._value(variable)) for variable in self.layer.trainable_variables]
        with keras.StatelessScope(state_mapping=rounded):
            outputs = ops.cast(self.layer(inputs), "float32")
        return round_activation(outputs) if self.rounds_output else outputs

    def _value(self, variable: Any) -> Any:
        return round_kernel(variable.value, self.axes) if len(variable.shape) > 1 else variable.value

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the layer's output."""
        return self.layer.compute_output_shape(input_shape)


def round_kernel(kernel: Any, axes: tuple[int, ...]) -> Any:
    """Return a kernel rounded with one scale for each output channel.

    The step is the largest absolute value / 127, or the largest sum of two neighboring input channels of one sign /
    `EXACT_PAIR_LIMIT`, if that is more.

    Args:
        kernel: Any shape, float32.
        axes: Output channel axes.
    """
    others = tuple(axis for axis in range(len(kernel.shape)) if axis not in axes)
    scale = ops.max(ops.abs(kernel), axis=others, keepdims=True) / 127
    if others and kernel.shape[others[-1]] > 1:
        sums = [ops.max(_pair_sums(sign * kernel, others[-1]), axis=others, keepdims=True) for sign in (1, -1)]
        scale = ops.maximum(scale, ops.maximum(*sums) / EXACT_PAIR_LIMIT)
    scale = ops.maximum(scale, _SMALLEST)
    return _straight_through(kernel, ops.round(kernel / scale) * scale)


def _pair_sums(kernel: Any, axis: int) -> Any:
    """Return the sums of the positive parts of input channels 2 i and 2 i + 1, with half the length along `axis`."""
    shape, half = tuple(kernel.shape), kernel.shape[axis] // 2
    positive = ops.maximum(kernel, 0)[(*(slice(None) for _ in shape[:axis]), slice(2 * half))]
    return ops.sum(ops.reshape(positive, (*shape[:axis], half, 2, *shape[axis + 1 :])), axis=axis + 1)


def round_activation(values: Any) -> Any:
    """Return values rounded to 256 levels that include 0.

    The range is that between the mean minimum and the mean maximum of the images; values beyond are clipped, as by the
    percentile 99.99 of the export.

    Args:
        values: (N, ...), float32.
    """
    axes = tuple(range(1, len(values.shape)))
    low, high = (ops.stop_gradient(ops.mean(find(values, axes))) for find in (ops.min, ops.max))
    low, high = ops.minimum(low, 0.0), ops.maximum(high, 0.0)
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        return tensorflow.quantization.fake_quant_with_min_max_vars(values, low, high)  # the same in one pass over memory
    scale = ops.maximum((high - low) / 255, _SMALLEST)
    zero = ops.round(-low / scale)
    rounded = (ops.clip(ops.round(values / scale) + zero, 0, 255) - zero) * scale
    return _straight_through(ops.clip(values, low, high), rounded)


def _straight_through(values: Any, rounded: Any) -> Any:
    return values + ops.stop_gradient(rounded - values)
