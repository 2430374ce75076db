"""Residual networks: shape, initialization, and presets."""

from __future__ import annotations

import numpy as np
import pytest
from keras import layers

from dae_train.errors import ConfigError
from dae_train.networks import build_network, start_at_mean
from dae_train.settings.networks import PRESETS, ResidualSettings, preset_settings

BLOCKS = [name for name, settings in PRESETS.items() if isinstance(settings, ResidualSettings)]
EDGE = [name for name in BLOCKS if name.startswith("edge")]


@pytest.mark.parametrize("preset", EDGE)
@pytest.mark.parametrize("channels", [1, 3])
def test_an_untrained_network_is_nearly_the_identity(preset: str, channels: int) -> None:
    network = build_network(preset_settings(preset, channels=channels))
    side = PRESETS[preset].alignment_px
    noisy = np.random.default_rng(0).random((2, 2 * side, 3 * side, channels), np.float32)
    start_at_mean(network, 0.1)
    denoised = np.asarray(network(noisy))
    assert denoised.shape == noisy.shape
    assert 0 < np.abs(denoised - noisy).max() < 0.3


def test_an_untrained_network_with_a_sigmoid_returns_the_mean() -> None:
    network = build_network(preset_settings("digits", channels=1))
    start_at_mean(network, 0.13)
    denoised = np.asarray(network(np.random.default_rng(0).random((2, 28, 28, 1), np.float32)))
    np.testing.assert_allclose(denoised, 0.13, atol=0.05)


@pytest.mark.parametrize("preset", BLOCKS)
def test_only_layers_that_fuse_and_channels_that_fill_the_lanes(preset: str) -> None:
    network = build_network(preset_settings(preset, channels=1))
    allowed = layers.InputLayer | layers.Conv2D | layers.Conv2DTranspose | layers.Add | layers.Activation
    assert all(isinstance(layer, allowed) for layer in network.layers)
    inner = [layer for layer in network.layers if hasattr(layer, "filters") and layer.name != "output_conv"]
    assert all(layer.filters % 16 == 0 for layer in inner)


def test_the_sum_is_in_float32_under_mixed_precision() -> None:
    network = build_network(preset_settings("edge-s", channels=1), "mixed_bfloat16")
    assert network.get_layer("denoised").compute_dtype == "float32"
    assert network.get_layer("output_conv").compute_dtype == "float32"
    assert network.get_layer("encoder_0_0_a").compute_dtype == "bfloat16"
    image = np.full((1, 16, 16, 1), 0.5, np.float32)
    brighter = np.asarray(network(image + np.float32(1 / 65535))) - np.asarray(network(image))
    assert brighter.max() > 0


def test_blocks_have_as_many_layers_as_set() -> None:
    names = [layer.name for layer in build_network(preset_settings("edge-s", channels=1, block_layers=4)).layers]
    assert names[2:12] == [f"encoder_0_{block}_{part}" for block in (0, 1) for part in ("a", "b", "c", "d", "sum")]
    block = [build_network(preset_settings("edge-s", channels=1)).get_layer(f"encoder_0_1_{part}") for part in "abc"]
    assert [layer.activation.__name__ for layer in block] == ["relu", "relu", "linear"]
    with pytest.raises(ConfigError, match=r"model\.block_layers must be from 2 to 8, not 1"):
        preset_settings("edge-s", block_layers=1)


def test_impossible_settings_are_named() -> None:
    with pytest.raises(ConfigError, match=r"model\.decoder_blocks must be 1 number"):
        preset_settings("edge-m", decoder_blocks=(1, 1))
    with pytest.raises(ConfigError, match=r"model\.stride_px must be 2, 4 or 8, not 3"):
        preset_settings("edge-s", stride_px=3)
    with pytest.raises(ConfigError, match=r"model\.filters must be at least one positive number"):
        preset_settings("edge-s", filters=())


def test_alignment_follows_from_stride_and_levels() -> None:
    settings = ResidualSettings("x", (16, 16, 32), (0, 1, 1), (1, 0), stride_px=4, channels=1)
    assert settings.alignment_px == 16
    assert build_network(settings)(np.zeros((1, 16, 32, 1), np.float32)).shape == (1, 16, 32, 1)
