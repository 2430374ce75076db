"""Autoencoders: parameters, layers, shapes, initialization."""

import numpy as np
import pytest
from keras import layers, ops

from dae_train.errors import ConfigError
from dae_train.networks import build_network, start_at_mean
from dae_train.settings.networks import preset_settings


def kinds(model: object) -> list[str]:
    return [type(layer).__name__ for layer in model.layers if not isinstance(layer, layers.InputLayer)]  # type: ignore[attr-defined]


def test_v1_has_the_parameters_of_the_original() -> None:
    network = build_network(preset_settings("v1", channels=1))
    assert network.get_layer("encoder").count_params() == 98_946
    assert network.get_layer("decoder").count_params() == 102_017
    assert network.count_params() == 200_963
    assert network.get_layer("encoder").output_shape == (None, 2)
    assert network.input_shape == network.output_shape == (None, 28, 28, 1)


def test_v2_has_the_parameters_of_the_original() -> None:
    network = build_network(preset_settings("v2", channels=1))
    assert network.count_params() == 185_217
    assert network.input_shape == network.output_shape == (None, None, None, 1)


def test_filters_and_strides_are_those_of_the_presets() -> None:
    def rows(model: object) -> list[tuple[int, int, int, str]]:
        found = [layer for layer in model.layers if isinstance(layer, layers.Conv2D | layers.Conv2DTranspose)]  # type: ignore[attr-defined]
        return [(layer.filters, layer.kernel_size[0], layer.strides[0], layer.padding) for layer in found]

    v1 = build_network(preset_settings("v1", channels=1))
    v2 = build_network(preset_settings("v2", channels=1))
    assert rows(v1.get_layer("encoder")) == [(f, 3, s, "same") for f, s in ((32, 1), (64, 2), (64, 2), (64, 1))]
    assert rows(v1.get_layer("decoder")) == [(f, 3, s, "same") for f, s in ((64, 1), (64, 2), (32, 2), (1, 1))]
    assert rows(v2) == [(f, 3, s, "same") for f, s in ((32, 1), (64, 2), (128, 2), (64, 2), (32, 2), (1, 1))]
    assert {layer.negative_slope for layer in v2.layers if isinstance(layer, layers.LeakyReLU)} == {0.3}


def test_layer_order() -> None:
    encoder, decoder = ["Conv2D", "LeakyReLU"], ["Conv2DTranspose", "LeakyReLU"]
    last = ["Conv2DTranspose", "Activation"]
    assert kinds(build_network(preset_settings("v2", channels=1))) == encoder * 3 + decoder * 2 + last
    both = ["BatchNormalization", "Dropout"]
    full = preset_settings("v2", channels=1, batch_norm=True, dropout=0.25)
    assert kinds(build_network(full)) == (encoder + both) * 3 + (decoder + both) * 2 + last
    v1 = build_network(preset_settings("v1", channels=1, dropout=0.25))
    assert kinds(v1) == ["Functional", "Functional"]
    assert kinds(v1.get_layer("encoder")) == [*encoder, "Dropout"] * 4 + ["Flatten", "Dense"]
    assert kinds(v1.get_layer("decoder")) == ["Dense", "Reshape"] + [*decoder, "Dropout"] * 3 + last


def test_settings_change_the_network() -> None:
    changed = preset_settings(
        "v2",
        channels=3,
        encoder_filters=(8, 16),
        encoder_kernels_px=(5, 3),
        encoder_strides=(2, 1),
        decoder_filters=(4,),
        decoder_kernels_px=(3, 7),
        decoder_strides=(1, 2),
        negative_slope=0.1,
    )
    network = build_network(changed)
    convs = (5 * 5 * 3 + 1) * 8 + (9 * 8 + 1) * 16 + (9 * 16 + 1) * 4 + (49 * 4 + 1) * 3
    assert network.count_params() == convs
    assert {layer.negative_slope for layer in network.layers if isinstance(layer, layers.LeakyReLU)} == {0.1}
    assert build_network(preset_settings("v1", channels=1, z_dim=7, image_px=32)).get_layer("encoder").output_shape[1] == 7


@pytest.mark.parametrize("size", [(4, 4), (28, 28), (20, 36)])
def test_v2_takes_any_aligned_size(size: tuple[int, int]) -> None:
    network = build_network(preset_settings("v2", channels=3))
    output = ops.convert_to_numpy(network(np.random.default_rng(0).random((2, *size, 3), np.float32)))
    assert output.shape == (2, *size, 3)
    assert output.min() >= 0
    assert output.max() <= 1


@pytest.mark.parametrize("preset", ["v1", "v2"])
@pytest.mark.parametrize("mean", [0.02, 0.13, 0.7])
def test_untrained_network_returns_the_mean(preset: str, mean: float) -> None:
    network = build_network(preset_settings(preset, channels=1))
    start_at_mean(network, mean)
    output = ops.convert_to_numpy(network(np.full((1, 28, 28, 1), mean, np.float32)))
    assert output.mean() == pytest.approx(mean, abs=0.02)


def test_last_layer_stays_in_float32_in_mixed_precision() -> None:
    network = build_network(preset_settings("v2", channels=1), "mixed_bfloat16")
    assert network.get_layer("encoder_conv_1").compute_dtype == "bfloat16"
    assert network.get_layer("output_conv").compute_dtype == network.get_layer("denoised").compute_dtype == "float32"


def test_channels_must_be_known() -> None:
    with pytest.raises(ConfigError, match="channels must be 1 or 3"):
        build_network(preset_settings("v2"))
