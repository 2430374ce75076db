"""Training with the rounding of the INT8 export."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from builders import run_on_jax, small_autoencoder
from dae_train import (
    PRESETS,
    DataSettings,
    NoiseSettings,
    RunConfig,
    TrainingSettings,
    preset_settings,
    resume,
    train,
)
from dae_train.judging.history import read_history
from dae_train.networks import build_network, fake_quantized
from dae_train.networks.fake_quantization import Rounded, round_activation, round_kernel

SMALL = small_autoencoder()


def test_kernels_have_255_levels_for_each_output_channel() -> None:
    kernel = np.random.default_rng(0).normal(size=(3, 3, 64, 5)).astype(np.float32) * np.array([1, 2, 0.1, 5, 0], np.float32)
    rounded = np.asarray(round_kernel(keras.ops.convert_to_tensor(kernel), (3,)))
    for channel in range(4):
        pairs = kernel[..., channel].reshape(3, 3, 32, 2)
        worst = max(np.maximum(sign * pairs, 0).sum(-1).max() for sign in (1, -1))
        scale = max(np.abs(kernel[..., channel]).max() / 127, worst / 128)
        assert worst / np.abs(kernel[..., channel]).max() > 128 / 127  # the limit on neighbors decides
        levels = rounded[..., channel] / scale
        np.testing.assert_allclose(levels, np.rint(levels), atol=1e-3)
        assert np.abs(rounded - kernel)[..., channel].max() <= 0.51 * scale
        assert 50 < len(np.unique(np.rint(levels))) <= 255
    assert not rounded[..., 4].any()


@pytest.mark.parametrize(("low", "high"), [(-0.3, 2.0), (0.5, 0.9), (-3.0, -1.0), (0.0, 0.0)])
def test_activations_have_256_levels_and_zero_is_one(low: float, high: float) -> None:
    values = np.random.default_rng(0).uniform(low, high, (2, 5000)).astype(np.float32)
    values[:, :3] = 0, low, high
    rounded = np.asarray(round_activation(keras.ops.convert_to_tensor(values)))
    scale = (max(0.0, high) - min(0.0, low)) / 255
    assert len(np.unique(np.rint(rounded / (scale or 1)))) <= 256
    assert np.abs(rounded - values).max() <= 1.01 * scale
    np.testing.assert_allclose(rounded[:, 0], 0, atol=1e-7)
    assert scale == 0 or np.abs(rounded - values).max() > 0.4 * scale


def test_outliers_are_clipped_and_have_no_gradient() -> None:
    values = tf.Variable(np.float32([[-3, 0.5, 1], [-1, 0.25, 3]]))  # from -2 to 2 in the mean
    with tf.GradientTape() as tape:
        rounded = round_activation(values)
    np.testing.assert_allclose(rounded, [[-2, 0.5, 1], [-1, 0.25, 2]], atol=0.51 * 4 / 255)
    np.testing.assert_array_equal(tape.gradient(rounded, values), [[0, 1, 1], [1, 1, 0]])


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_can_be_rounded(preset: str) -> None:
    keras.utils.set_random_seed(0)
    network = build_network(preset_settings(preset, channels=1))
    twin = fake_quantized(network)
    for a, b in zip(network.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert [weight.shape for weight in network.trainable_variables] == [weight.shape for weight in twin.trainable_variables]
    side = network.input_shape[1] or 32
    images = np.random.default_rng(0).random((2, side, side, 1)).astype(np.float32)
    plain, rounded = network.predict(images, verbose=0), twin.predict(images, verbose=0)
    assert 0 < np.abs(plain - rounded).max() < 0.1


def test_rounding_follows_what_the_export_fuses() -> None:
    image = keras.Input((8, 8, 1))
    branch = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="fused_inside")(image)
    branch = keras.layers.Conv2D(4, 3, padding="same", name="before_activation")(branch)
    branch = keras.layers.LeakyReLU(name="activation")(branch)
    branch = keras.layers.Conv2D(1, 3, padding="same", name="residual")(branch)
    network = keras.Model(image, keras.layers.Add(name="sum")([image, branch]))
    rounded = {layer.name: layer.rounds_output for layer in fake_quantized(network).layers if isinstance(layer, Rounded)}
    expected = {"fused_inside": True, "before_activation": False, "activation": True, "residual": True, "sum": False}
    assert rounded == expected


def test_sums_of_a_network_that_is_given_the_level_are_rounded_where_they_are_read() -> None:
    twin = fake_quantized(build_network(preset_settings("edge-m", channels=1, sigma=True)))
    layers = {layer.name: layer for layer in twin.layers if isinstance(layer, Rounded)}
    kept = {name for name in layers if name.endswith("_sum")} | {"skip_0"}
    assert len(kept) == 8
    assert not any(layers[name].rounds_output for name in kept)
    assert layers["with_sigma"].rounds_output
    assert {name for name, layer in layers.items() if layer.rounds_input} == {
        *("encoder_0_1_a", "down_1", "encoder_1_1_a", "encoder_1_2_a", "up_0", "decoder_0_0_a", "decoder_0_1_a", "output_conv")
    }


@pytest.mark.slow
def test_training_with_rounding_lowers_the_loss_of_rounding(digits_file: Path, tmp_path: Path) -> None:
    def config(**training: object) -> RunConfig:
        settings = TrainingSettings(batch_size=16, **training)  # type: ignore[arg-type]
        return RunConfig(SMALL, NoiseSettings("gaussian:0.3"), DataSettings(str(digits_file)), settings)

    first = train(config(epochs=1, steps_per_epoch=60), tmp_path / "first").run
    model = keras.models.load_model(first.best_model, compile=False)
    # One large tap makes all others of its output channel coarse, which rounding to 8 bits then takes away.
    kernel, *others = model.get_weights()
    kernel[0, 0, 0, :] = 40 * np.abs(kernel).max()
    model.set_weights([kernel, *others])
    model.save(tmp_path / "coarse.keras")
    settings = config(epochs=2, steps_per_epoch=20, init=str(tmp_path / "coarse.keras"), qat=True, schedule="constant")
    run = train(settings, tmp_path / "qat").run
    rows = read_history(run.history)
    assert rows[1]["val_loss"] < rows[0]["val_loss"] < 0.3
    saved = keras.models.load_model(run.best_model, compile=False)
    assert {type(layer).__module__.split(".")[0] for layer in saved.layers} == {"keras"}
    with np.load(run.calibration) as samples:
        noisy, clean = (np.concatenate([samples[name], samples[f"test_{name}"]]) for name in ("noisy", "clean"))
    judged = float(np.mean((fake_quantized(saved).predict_on_batch(noisy) - clean) ** 2))
    assert judged == pytest.approx(rows[1]["val_loss"], rel=1e-3)  # the figures are those of the rounded network
    assert judged != pytest.approx(float(np.mean((saved.predict_on_batch(noisy) - clean) ** 2)), rel=1e-4)
    assert resume(run.root, epochs=3).epochs == 3


def test_layers_compute_in_16_bits_and_values_are_rounded_in_32() -> None:
    settings = preset_settings("edge-s", channels=1)
    network, mixed = build_network(settings), build_network(settings, "mixed_bfloat16")
    mixed.set_weights(network.get_weights())
    images = np.random.default_rng(0).random((2, 32, 32, 1)).astype(np.float32)
    twin, half = fake_quantized(network), fake_quantized(mixed)
    kinds = {type(layer.layer).__name__: layer for layer in half.layers if isinstance(layer, Rounded)}
    assert kinds["Conv2D"].layer.compute_dtype == "bfloat16"
    assert kinds["Add"].layer.compute_dtype == "float32"
    assert keras.backend.standardize_dtype(half.layers[1](images).dtype) == "float32"
    expected, received = twin(images), half(images)
    assert 0 < np.abs(expected - received).max() < 0.02


JAX = """
import sys
import numpy as np, keras
from dae_train.networks.fake_quantization import round_activation, round_kernel
with np.load(sys.argv[1]) as given:
    values = np.asarray(round_activation(keras.ops.convert_to_tensor(given["values"])))
    kernel = np.asarray(round_kernel(keras.ops.convert_to_tensor(given["kernel"]), (3,)))
np.savez(sys.argv[2], values=values, kernel=kernel)
"""


@pytest.mark.slow
def test_jax_rounds_alike(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0)
    values, kernel = numbers.normal(size=(3, 4000)).astype(np.float32), numbers.normal(size=(3, 3, 5, 4)).astype(np.float32)
    np.savez(tmp_path / "given.npz", values=values, kernel=kernel)
    run_on_jax(JAX, tmp_path / "given.npz", tmp_path / "found.npz")
    expected = np.asarray(round_activation(keras.ops.convert_to_tensor(values)))
    step = np.diff(np.unique(expected)).min()
    with np.load(tmp_path / "found.npz") as found:
        assert np.abs(found["values"] - expected).max() < 1.01 * step  # halves may go up or down
        assert np.mean(np.abs(found["values"] - expected) > 0.5 * step) < 0.002
        np.testing.assert_allclose(found["kernel"], round_kernel(keras.ops.convert_to_tensor(kernel), (3,)), atol=1e-6)
