"""Residual networks: the image is added back in float, so that INT8 rounds only the correction."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from dae_export.precision import calibrate, quantize, to_uint8
from dae_export.product.variants import rewritten
from dae_export.rewrites import FLOAT_CANDIDATES, INTEGER_CANDIDATES
from dae_export.source import KerasModel, Network, read_network


@pytest.fixture(scope="module")
def network(keras) -> Network:
    """A U-shape of two levels on a quarter of the resolution, its correction about a tenth of the image."""
    layers = keras.layers
    keras.utils.set_random_seed(3)
    image = keras.Input((None, None, 1))
    x = skip = layers.Conv2D(16, 8, strides=4, padding="same", activation="relu")(image)
    x = layers.Conv2D(16, 2, strides=2, padding="same", activation="relu")(x)
    x = layers.Add()([layers.Conv2DTranspose(16, 2, strides=2, padding="same")(x), skip])
    small = keras.initializers.VarianceScaling(0.05)
    correction = layers.Conv2DTranspose(1, 8, strides=4, padding="same", kernel_initializer=small)(x)
    return read_network(KerasModel(keras.Model(image, layers.Add()([correction, image])), "residual"), 18)


@pytest.fixture(scope="module")
def noisy() -> Any:
    return np.random.default_rng(0).random((2, 64, 48, 1), np.float32)


def integer_models(network: Network, noisy: Any) -> dict[str, onnx.ModelProto]:
    forms = rewritten(network.model, INTEGER_CANDIDATES, network.images.alignment_px)
    return {name: quantize(model, calibrate(model, [noisy])) for name, model in forms.items()}


@pytest.mark.parametrize("candidates", [FLOAT_CANDIDATES, INTEGER_CANDIDATES])
def test_every_form_is_the_network(network, candidates):
    forms = rewritten(network.model, candidates, network.images.alignment_px)
    assert len(forms) > 1
    for model in forms.values():
        assert network.parity(model, 1e-5).max_abs_error < 1e-5


def test_steps_of_16_bits_survive_int8(network, noisy, run_onnx):
    """A change of the image below one step of 8 bits, too small for the rounded correction to see, arrives whole."""
    flat = np.full_like(noisy, 0.501)  # off the borders between the steps of 8 bits
    for name, model in integer_models(network, noisy).items():
        lighter, darker = (run_onnx(model, flat + np.float32(step)) for step in (1 / 65535, -1 / 65535))
        np.testing.assert_allclose(lighter - darker, 2 / 65535, atol=1e-6, err_msg=name)


def test_int8_stays_close_to_float(network, noisy, run_onnx):
    wanted = run_onnx(network.model, noisy)
    assert np.abs(wanted - noisy).max() > 0.02
    for name, model in integer_models(network, noisy).items():
        assert np.abs(run_onnx(model, noisy) - wanted).max() < 0.005, name


def test_noise_beyond_the_range_is_not_clipped(network, noisy, run_onnx):
    beyond = noisy * 2 - np.float32(0.5)
    wanted = run_onnx(network.model, beyond)
    for name, model in integer_models(network, beyond).items():
        assert np.abs(run_onnx(model, beyond) - wanted).max() < 0.01, name


def test_8_bit_edges(network, noisy, run_onnx):
    pixels = np.rint(noisy * 255).astype(np.uint8)
    wanted = np.clip(np.rint(run_onnx(network.model, pixels / np.float32(255)) * 255), 0, 255)
    for name, model in integer_models(network, noisy).items():
        output = run_onnx(to_uint8(model, "int8"), pixels)
        assert output.dtype == np.uint8
        assert np.abs(output.astype(int) - wanted).max() <= 1, name
