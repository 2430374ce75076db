"""Muon for convolutions: orthogonal steps, Adam for the rest, and a state that survives a file."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from dae_train.learning.muon import ConvolutionMuon
from dae_train.learning.optimizers import OPTIMIZERS
from dae_train.settings.training import LEARNING_RATES


def test_every_direction_of_a_kernel_is_changed_alike() -> None:
    """Whatever the gradient, the step of a kernel has singular values near one another, and the length that Adam's has."""
    rng = np.random.default_rng(0)
    kernel = keras.Variable(np.zeros((3, 3, 16, 32), np.float32))
    gradient = rng.normal(size=(144, 4)) @ rng.normal(size=(4, 32)) + 0.05 * rng.normal(size=(144, 32))
    optimizer = ConvolutionMuon(0.01)
    optimizer.build([kernel])
    optimizer.apply([keras.ops.convert_to_tensor(gradient.reshape(kernel.shape).astype(np.float32))])
    step = np.asarray(kernel).reshape(144, 32)
    before, after = (np.linalg.svd(matrix, compute_uv=False) for matrix in (gradient, step))
    assert before.max() / before.min() > 20
    assert after.max() / after.min() < 3
    assert np.sqrt(np.mean(step**2)) == pytest.approx(0.2 * 0.01, rel=0.3)
    assert np.sum(step * gradient) < 0


def test_narrow_kernels_and_biases_use_adam() -> None:
    variables = [keras.Variable(np.zeros(shape, np.float32)) for shape in ((4, 4, 1, 8), (4, 4, 8, 1), (8,))]
    optimizer = ConvolutionMuon(0.01)
    optimizer.build(variables)
    optimizer.apply([keras.ops.ones(variable.shape) * 0.3 for variable in variables])
    for variable in variables:
        np.testing.assert_allclose(np.asarray(variable), -0.005, rtol=1e-3)


@pytest.mark.parametrize(("steps_before", "share"), [(0, 1), (300, 0.6), (10**6, 0.2)])
def test_biases_slow_down_after_the_start(steps_before: int, share: float) -> None:
    kernel, bias = (keras.Variable(np.zeros(shape, np.float32)) for shape in ((4, 4, 8, 1), (8,)))
    optimizer = ConvolutionMuon(0.01)
    optimizer.build([kernel, bias])
    optimizer.iterations.assign(steps_before)
    optimizer.apply([keras.ops.ones(variable.shape) * 0.3 for variable in (kernel, bias)])
    assert np.mean(bias) / np.mean(kernel) == pytest.approx(share, rel=0.01)


def test_a_rarely_active_filter_makes_short_steps() -> None:
    """Orthogonalization makes a gradient of a thousandth as long as the others, which walks a ReLU unit to its death."""
    rng = np.random.default_rng(0)
    gradient = rng.normal(size=(3, 3, 16, 32)).astype(np.float32)
    gradient[..., 5] *= 1e-3
    kernel = keras.Variable(np.zeros(gradient.shape, np.float32))
    optimizer = ConvolutionMuon(0.01)
    optimizer.build([kernel])
    optimizer.iterations.assign(10**6)
    optimizer.apply([keras.ops.convert_to_tensor(gradient)])
    steps = np.linalg.norm(np.asarray(kernel).reshape(144, 32), axis=0)
    others = np.delete(steps, 5)
    assert others.max() / others.min() < 2
    assert steps[5] < 0.02 * others.mean()


def test_a_gradient_is_clipped_to_the_momentum() -> None:
    """A batch whose gradient is a million times as long turns the direction of the steps by no more than its share."""
    rng = np.random.default_rng(0)
    usual, spike = (rng.normal(size=(3, 3, 16, 32)).astype(np.float32) for _ in range(2))
    steps = []
    for factor in (0, 1e6):
        kernel = keras.Variable(np.zeros(usual.shape, np.float32))
        optimizer = ConvolutionMuon(0.01, weight_decay=None)
        optimizer.build([kernel])
        for gradient in [usual] * 10 + [factor * spike] + [usual] * 4:
            before = np.asarray(kernel)
            optimizer.apply([keras.ops.convert_to_tensor(gradient)])
        steps.append((np.asarray(kernel) - before).ravel())
    without, with_spike = steps
    alike = without @ with_spike / np.linalg.norm(without) / np.linalg.norm(with_spike)
    assert 0.6 < alike < 0.99


def test_kernels_decay_and_biases_do_not() -> None:
    variables = [keras.Variable(np.ones(shape, np.float32)) for shape in ((3, 3, 4, 4), (4,))]
    optimizer = ConvolutionMuon(0.1, weight_decay=0.5)
    optimizer.build(variables)
    optimizer.apply([keras.ops.zeros(variable.shape) for variable in variables])
    np.testing.assert_allclose(np.asarray(variables[0]), 0.95, rtol=1e-5)
    np.testing.assert_array_equal(np.asarray(variables[1]), 1)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_a_saved_optimizer_resumes_exactly(name: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    image = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    model = keras.Model(image, keras.layers.Conv2D(2, 3, padding="same")(x))
    model.compile(OPTIMIZERS[name](0.01, 0.9), "mse")
    x, y = np.random.default_rng(0).random((4, 8, 8, 1), np.float32), np.zeros((4, 8, 8, 2), np.float32)
    model.train_on_batch(x, y)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for one in (model, again):
        one.train_on_batch(x, y)
    for mine, loaded in zip(model.optimizer.variables, again.optimizer.variables, strict=True):
        np.testing.assert_allclose(np.asarray(mine), np.asarray(loaded), rtol=1e-5, atol=1e-7)


def test_both_optimizers_have_a_rate() -> None:
    assert set(OPTIMIZERS) == set(LEARNING_RATES)


def test_plain_muon_protects_no_units() -> None:
    """No decay, no damping, biases at one rate, and every batch at its own length, also after a file."""
    rng = np.random.default_rng(0)
    gradient = rng.normal(size=(3, 3, 16, 32)).astype(np.float32)
    gradient[..., 5] *= 1e-3
    optimizer = ConvolutionMuon.from_config(ConvolutionMuon(0.01, plain=True).get_config())
    kernel, narrow, bias = variables = [
        keras.Variable(np.ones(shape, np.float32)) for shape in ((3, 3, 16, 32), (4, 4, 8, 1), (8,))
    ]
    optimizer.build(variables)
    optimizer.iterations.assign(10**6)
    optimizer.apply([keras.ops.convert_to_tensor(gradient), *(keras.ops.ones(v.shape) * 0.3 for v in (narrow, bias))])
    steps = np.linalg.norm((np.asarray(kernel) - 1).reshape(144, 32), axis=0)
    assert steps[5] > 0.05 * steps.mean()  # damped: below 0.02
    assert np.mean(np.asarray(bias) - 1) == pytest.approx(np.mean(np.asarray(narrow) - 1), rel=1e-3)


def test_plain_muon_has_no_weight_decay() -> None:
    kernel = keras.Variable(np.ones((3, 3, 4, 4), np.float32))
    optimizer = ConvolutionMuon(0.1, plain=True)
    optimizer.build([kernel])
    optimizer.apply([keras.ops.zeros(kernel.shape)])
    np.testing.assert_array_equal(np.asarray(kernel), 1)
