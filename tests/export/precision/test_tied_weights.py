"""Layers whose weights are equal arrays, which the converter lets share one constant: tied autoencoders, copies of a layer."""

from __future__ import annotations

import numpy as np
import pytest

from dae_export.graph.model import Graph
from dae_export.precision import calibrate, quantize
from dae_export.source import find_source, load, read_network
from dae_runtime.engine.session import open_session, run_session


@pytest.mark.parametrize("tied", ["a convolution and its transpose", "two convolutions"])
def test_equal_weights_are_exported_to_int8(keras, make_model, tied):
    layers, numbers = keras.layers, np.random.default_rng(0)

    def tiable(image):
        x = layers.Conv2D(16, 4, strides=2, padding="same", name="down")(image)
        for name in ("first", "second"):
            x = layers.Conv2D(16, 3, padding="same", activation="relu", name=name)(x)
        return layers.Add()([image, layers.Conv2DTranspose(3, 4, strides=2, padding="same", name="up")(x)])

    network = make_model(tiable, (None, None, 3))
    one, other = ("down", "up") if "transpose" in tied else ("first", "second")
    kernel = network.get_layer(one).get_weights()[0]
    network.get_layer(other).set_weights([kernel, network.get_layer(other).get_weights()[1]])
    model = read_network(load(find_source(network)), 18).model
    weights = {node.op_type: node.input[1] for node in Graph(model).nodes if "Conv" in node.op_type}
    assert len(set(weights.values())) == 2
    images = numbers.random((4, 32, 32, 3), np.float32)
    expected = run_session(open_session(model.SerializeToString(), "cpu", 1), images)
    integer = quantize(model, calibrate(model, [images])).SerializeToString()
    error = run_session(open_session(integer, "cpu", 1), images) - expected
    assert 0 < error.std() < 0.02 * (expected - images).std()
