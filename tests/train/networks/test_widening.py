"""Trained networks copied into wider ones."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from dae_train import DataSettings, NoiseSettings, RunConfig, TrainingSettings, preset_settings, train
from dae_train.errors import ConfigError
from dae_train.judging.history import read_history
from dae_train.networks import build_network, load_trained, start_from
from dae_train.networks.widening import can_widen, widen


def network(seed: int, *filters: int, channels: int = 1, lively: bool = True, **changes: Any) -> keras.Model:
    """A U-shape with random weights; `lively` where no layer starts near zero."""
    keras.utils.set_random_seed(seed)
    built = build_network(preset_settings("edge-m", filters=filters, channels=channels, **changes))
    if lively:
        random = np.random.default_rng(seed)
        built.set_weights([random.normal(0, 0.1, weight.shape) for weight in built.get_weights()])
    return built


def images(channels: int = 1) -> np.ndarray:
    return np.random.default_rng(5).uniform(size=(2, 32, 40, channels)).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("sigmoid", [False, True])
@pytest.mark.parametrize("filters", [(16, 24), (8, 24), (16, 16), (9, 17)])
def test_a_wider_network_makes_the_same_images(filters: tuple[int, ...], sigmoid: bool, channels: int) -> None:
    narrow = network(1, 8, 16, channels=channels, sigmoid=sigmoid)
    wide = network(2, *filters, channels=channels, sigmoid=sigmoid)
    expected = np.asarray(narrow(images(channels)))
    assert np.abs(np.asarray(wide(images(channels))) - expected).max() > 0.1
    widen(narrow, wide)
    np.testing.assert_allclose(np.asarray(wide(images(channels))), expected, atol=2e-5)


@pytest.mark.parametrize("filters", [(16, 24), (8, 24)])
def test_a_wider_network_that_is_told_the_level_makes_the_same_images(filters: tuple[int, ...]) -> None:
    narrow, wide = (network(seed, *each, sigma=True) for seed, each in ((1, (8, 16)), (2, filters)))
    told = [images(), np.array([[0.01], [0.2]], np.float32)]
    expected = np.asarray(narrow(told))
    assert np.abs(np.asarray(wide(told)) - expected).max() > 0.01
    assert can_widen(narrow, wide)
    widen(narrow, wide)
    np.testing.assert_allclose(np.asarray(wide(told)), expected, atol=2e-5)
    assert not can_widen(network(1, 8, 16), wide)


def test_new_channels_have_random_weights_and_old_ones_ignore_them() -> None:
    narrow, wide = network(1, 8, 16), network(2, 16, 24)
    fresh = wide.get_layer("encoder_0_0_a").get_weights()[0]
    widen(narrow, wide)
    kernel = wide.get_layer("encoder_0_0_a").get_weights()[0]
    np.testing.assert_array_equal(kernel[:, :, :8, :8], narrow.get_layer("encoder_0_0_a").get_weights()[0])
    assert not kernel[:, :, 8:, :8].any()
    np.testing.assert_array_equal(kernel[..., 8:], fresh[..., 8:])
    assert len(np.unique(kernel[..., 8:])) > 1000  # no two of the new units start alike


def test_old_channels_learn_to_use_new_ones() -> None:
    wide = network(2, 16, 24, lively=False)
    widen(network(1, 8, 16, lively=False), wide)
    wide.compile(keras.optimizers.SGD(0.05), "mse")
    clean = images()
    wide.fit(clean + np.random.default_rng(6).normal(0, 0.1, clean.shape), clean, epochs=3, verbose=0)
    for name, old in (("encoder_0_0_a", 8), ("encoder_0_1_b", 8), ("encoder_1_2_b", 16), ("decoder_0_1_b", 8)):
        heard = wide.get_layer(name).get_weights()[0][:, :, old:, :old].any(axis=(0, 1, 3))
        assert np.mean(heard) > 0.5, name  # a few units are off at such small images
    assert wide.get_layer("output_conv").get_weights()[0][..., 8:].all()


def test_the_bundled_model_widens_to_a_larger_preset() -> None:
    wide = build_network(preset_settings("edge-l", channels=1))
    start_from("gray", wide)
    expected = np.asarray(load_trained("gray", "--init")(images()))
    np.testing.assert_allclose(np.asarray(wide(images())), expected, atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"filters": (4, 16)},
        {"filters": (16, 8)},
        {"stride_px": 4},
        {"block_layers": 3},
        {"encoder_blocks": (1, 3)},
        {"channels": 3},
    ],
)
def test_networks_that_are_not_wider_are_rejected(changes: dict[str, Any]) -> None:
    settings = {"filters": (8, 16), "channels": 1, **changes}
    assert not can_widen(network(1, 8, 16), build_network(preset_settings("edge-m", **settings)))


def test_networks_with_normalization_or_groups_or_dense_layers_are_rejected() -> None:
    def tutorial(**changes: Any) -> keras.Model:
        return build_network(preset_settings("v2", channels=1, batch_norm=True, **changes))

    assert not can_widen(tutorial(), tutorial(encoder_filters=(32, 64, 256)))
    flat = {"channels": 1, "image_px": 28}
    assert not can_widen(
        build_network(preset_settings("v1", **flat)),
        build_network(preset_settings("v1", **flat, encoder_filters=(32, 64, 64, 128))),
    )

    def grouped(filters: int, groups: int) -> keras.Model:
        image = keras.Input((None, None, 4), name="image")
        return keras.Model(image, keras.layers.Conv2D(filters, 3, groups=groups, name="conv")(image))

    assert not can_widen(grouped(4, 2), grouped(8, 2))
    assert can_widen(grouped(4, 1), grouped(8, 1))


@pytest.mark.slow
def test_a_run_starts_from_a_narrower_network(digits_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def config(filters: tuple[int, ...], **training: Any) -> RunConfig:
        model = preset_settings("edge-m", filters=filters, encoder_blocks=(1, 1), decoder_blocks=(0,), channels=1)
        quick = TrainingSettings(**{"batch_size": 16, "epochs": 1, "steps_per_epoch": 40, **training})
        return RunConfig(model, NoiseSettings("gaussian:0.3"), DataSettings(str(digits_file)), quick)

    first = train(config((8, 8)), tmp_path / "first").run
    still = {"init": str(first.root), "learning_rate": 1e-9, "steps_per_epoch": 1}
    with caplog.at_level("INFO"):
        second = train(config((16, 16), **still), tmp_path / "second").run
    assert f"widening {first.root} into edge-m" in caplog.messages
    results = [read_history(run.history)[-1]["val_loss"] for run in (first, second)]
    assert results[1] == pytest.approx(results[0], rel=1e-3)

    with pytest.raises(ConfigError, match=r"other weights than the preset edge-m.*instead of"):
        train(config((4, 8), **still), tmp_path / "third")
    assert not (tmp_path / "third").exists()
