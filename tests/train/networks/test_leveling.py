"""Networks that are given the noise level: what they are made of, and how they start from others."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from dae_train import ConfigError, preset_settings
from dae_train.networks import build_network, fake_quantized, start_from
from dae_train.networks.fake_quantization import Rounded
from dae_train.networks.residual import FULL_LEVEL, LEVEL_LAYERS

SMALL = {"filters": (8, 12), "encoder_blocks": (1, 1), "decoder_blocks": (1,), "channels": 1}
LEVELED = preset_settings("edge-m", sigma=True, **SMALL)
BLIND = preset_settings("edge-m", **SMALL)


@pytest.fixture
def noisy() -> np.ndarray:
    return np.random.default_rng(0).random((3, 16, 24, 1), np.float32)


def levels(*values: float) -> np.ndarray:
    return np.float32(values)[:, None]


def awake(network: keras.Model) -> keras.Model:
    """Give the last layer weights that do something: fresh networks make nearly no correction."""
    last = network.get_layer("output_conv")
    last.set_weights([np.random.default_rng(1).normal(0, 0.3, weight.shape) for weight in last.get_weights()])
    return network


@pytest.mark.parametrize("preset", ["edge-s", "edge-m", "edge-l", "document"])
def test_every_residual_preset_can_be_given_the_level(preset: str) -> None:
    network = build_network(preset_settings(preset, sigma=True, channels=3))
    assert [(tensor.name, tuple(tensor.shape)) for tensor in network.inputs] == [
        ("noisy", (None, None, None, 3)),
        ("sigma", (None, 1)),
    ]
    blind = build_network(preset_settings(preset, channels=3))
    assert 0 < network.count_params() - blind.count_params() < 0.05 * blind.count_params()


def test_level_decides_and_nothing_is_done_at_zero(noisy: np.ndarray) -> None:
    network = awake(build_network(LEVELED))
    result = np.asarray(network([noisy, levels(0, 0.1, 0.2)]))
    np.testing.assert_array_equal(result[0], noisy[0])
    correction = result - noisy
    other = np.asarray(network([noisy, levels(0.1, 0.1, 0.1)])) - noisy
    np.testing.assert_allclose(correction[1], other[1], atol=1e-6)
    assert np.abs(correction[2] - other[2]).max() > 1e-3  # by the bias: at both levels the gain is 1


def test_layers_of_the_level_stay_in_float32_and_unrounded() -> None:
    mixed = build_network(LEVELED, "mixed_bfloat16")
    assert {mixed.get_layer(name).compute_dtype for name in (*LEVEL_LAYERS, "output_conv", "denoised")} == {"float32"}
    assert mixed.get_layer("with_sigma").compute_dtype == "bfloat16"
    rounded = {layer.name: layer.rounds_output for layer in fake_quantized(mixed).layers if isinstance(layer, Rounded)}
    assert not rounded.keys() & set(LEVEL_LAYERS)
    assert rounded["with_sigma"]
    assert rounded["output_conv"]
    assert not rounded["denoised"]


def test_rounded_network_does_nothing_at_level_zero(noisy: np.ndarray) -> None:
    keras.utils.set_random_seed(0)  # the share of the rounding error varies with the weights
    network = awake(build_network(LEVELED))
    twin = fake_quantized(network)
    given = [noisy, levels(0, 0.1, 0.2)]
    received, expected = np.asarray(twin(given)), np.asarray(network(given))
    np.testing.assert_array_equal(received[0], noisy[0])
    assert 0 < np.abs(received - expected).mean() < 0.2 * np.abs(expected - noisy).mean()


def test_network_without_level_is_taken_over(noisy: np.ndarray, tmp_path: Path) -> None:
    blind, path = awake(build_network(BLIND)), tmp_path / "blind.keras"
    blind.save(path)
    network = build_network(LEVELED)
    start_from(str(path), network)
    expected = np.asarray(blind(noisy))
    np.testing.assert_allclose(np.asarray(network([noisy, levels(FULL_LEVEL, 0.1, 1)])), expected, atol=1e-6)
    lower = np.asarray(network([noisy, levels(*[FULL_LEVEL / 2] * 3)]))
    np.testing.assert_allclose(lower - noisy, (expected - noisy) / 2, atol=1e-6)
    assert network.get_layer("sigma_hidden").get_weights()[0].any()


def test_other_networks_are_not(tmp_path: Path) -> None:
    path = tmp_path / "other.keras"
    build_network(preset_settings("edge-m", **SMALL | {"filters": (8, 16)})).save(path)
    with pytest.raises(ConfigError, match="other weights"):
        start_from(str(path), build_network(LEVELED))
    leveled = tmp_path / "leveled.keras"
    build_network(LEVELED).save(leveled)
    with pytest.raises(ConfigError, match="other weights"):
        start_from(str(leveled), build_network(BLIND))
    again = build_network(LEVELED)
    start_from(str(leveled), again)
    for a, b in zip(keras.models.load_model(leveled).get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
