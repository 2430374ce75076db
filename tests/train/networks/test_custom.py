"""Custom networks: image requirements, errors, copies."""

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from dae_train import PRESETS, ConfigError, preset_settings
from dae_train.networks import build_network, copy_network, custom_settings
from dae_train.settings.networks import CustomSettings


class Doubled(layers.Layer):  # type: ignore[misc]
    """A layer that Keras is not told of."""

    def call(self, x: Any) -> Any:
        return 2 * x

    def compute_output_shape(self, shape: Any) -> Any:
        return shape


def of(*steps: layers.Layer, channels: int = 3, side: int | None = None) -> keras.Model:
    image = x = keras.Input((side, side, channels))
    for step in steps:
        x = step(x)
    return keras.Model(image, x)


def oblong() -> keras.Model:
    image = keras.Input((8, 16, 1))
    return keras.Model(image, layers.Conv2D(1, 3, padding="same")(image))


@pytest.mark.parametrize("preset", [name for name in PRESETS if name != "v1"])
def test_the_alignment_of_a_network_is_found(preset: str) -> None:
    settings = preset_settings(preset, channels=1)
    found = custom_settings(build_network(settings))
    assert found == CustomSettings(channels=1, alignment_px=settings.alignment_px)


def test_any_number_may_be_the_alignment() -> None:
    assert custom_settings(of(layers.Conv2D(3, 3, padding="same"))).alignment_px == 1
    pools = [layers.MaxPooling2D(3), layers.UpSampling2D(3), layers.MaxPooling2D(2), layers.UpSampling2D(2)]
    assert custom_settings(of(*pools)).alignment_px == 6
    image = keras.Input((None, None, 1))
    down = layers.Conv2D(4, 3, strides=4, padding="same")(image)
    joined = layers.Add()([image, layers.Conv2DTranspose(1, 3, strides=4, padding="same")(down)])
    assert custom_settings(keras.Model(image, joined)).alignment_px == 4


def test_a_fixed_size_is_kept() -> None:
    assert custom_settings(build_network(preset_settings("v1", channels=1))) == CustomSettings(
        channels=1, alignment_px=1, image_px=28
    )


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (lambda: "v2", "must be a functional keras.Model, not str"),
        (lambda: keras.Sequential([layers.Conv2D(1, 3)]), "must be a functional keras.Model, not Sequential"),
        (lambda: of(layers.Conv2D(4, 3, padding="same")), "keep the size and number of channels"),
        (lambda: of(layers.Conv2D(3, 3)), "keep the size and number of channels"),
        (lambda: of(layers.Conv2D(3, 3), side=32), "keep the size and number of channels"),
        (lambda: of(layers.Conv2D(2, 3, padding="same"), channels=2), "with 1 or 3 channels and H and W free or equal"),
        (oblong, "with 1 or 3 channels and H and W free or equal"),
        (lambda: of(Doubled()), "keras.saving.register_keras_serializable"),
    ],
)
def test_networks_not_for_images_are_rejected(network: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        custom_settings(network())
    assert said in str(caught.value)


def test_a_copy_has_the_weights_and_the_requested_precision() -> None:
    network = build_network(preset_settings("v1", channels=1))
    image = np.random.default_rng(0).random((1, 28, 28, 1), np.float32)
    copied = copy_network(network)
    np.testing.assert_array_equal(copied.predict(image, verbose=0), network.predict(image, verbose=0))
    half = copy_network(network, "mixed_bfloat16")
    inner = [*half.get_layer("encoder").layers, *half.get_layer("decoder").layers]
    dtypes = [layer.compute_dtype for layer in inner if layer.weights]
    assert set(dtypes) == {"bfloat16"}
    assert inner[-1].compute_dtype == "float32"
    np.testing.assert_allclose(half.predict(image, verbose=0), network.predict(image, verbose=0), atol=0.02)
    assert {weight.dtype for weight in network.weights} == {"float32"}


def test_its_settings_build_no_network() -> None:
    with pytest.raises(ConfigError, match="Pass the network itself"):
        build_network(CustomSettings(channels=1, alignment_px=2))
