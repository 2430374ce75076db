"""The first layer of a network that is given the noise level: in float32, and the same on every processor."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dae_export.graph.model import Graph
from dae_export.precision import calibrate, quantize
from dae_export.precision.first_layer import LARGEST, STEPS, common_steps, first_layer
from dae_export.product.variants import rewritten
from dae_export.rewrites import INTEGER_CANDIDATES
from dae_export.source import find_source, load, read_network
from dae_runtime.engine.session import open_session, run_session


@pytest.fixture(scope="module")
def told(make_leveled):
    """The canonical graph of a network that is given the noise level."""
    return read_network(load(find_source(make_leveled(3))), 18).model


def sums_in_orders(image: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> list[np.ndarray]:
    """Return the sums of one window for all output channels, in float32, added up in several orders."""
    products = (image.ravel() * weights.reshape(len(weights), -1)).astype(np.float32)
    orders = [np.arange(products.shape[1]), np.arange(products.shape[1])[::-1]]
    orders += [np.random.default_rng(seed).permutation(products.shape[1]) for seed in range(3)]
    found = []
    for order in orders:
        total = np.zeros(len(weights), np.float32)
        for column in order:
            total = total + products[:, column]
        found.append(total + bias)
    return [*found, (products[:, ::2].sum(1) + products[:, 1::2].sum(1)) + bias]


@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([1e-30, 1e-3, 1.0, 1e6]), channels=st.sampled_from([1, 3]))
def test_sums_do_not_depend_on_their_order(seed, scale, channels):
    numbers = np.random.default_rng(seed)
    weights = scale * numbers.standard_normal((6, channels, 4, 4)) ** 3
    weights[0] = 0
    bias = scale * 100 * numbers.standard_normal(6)
    rounded, offset = common_steps(weights / STEPS, bias)
    assert rounded.dtype == offset.dtype == np.float32
    largest = np.abs(weights / STEPS).reshape(6, -1).max(1)
    assert (np.abs(rounded - weights / STEPS).reshape(6, -1).max(1) <= 0.01 * largest + 1e-4 * np.abs(bias) + 1e-36).all()
    for image in (numbers.uniform(-LARGEST, LARGEST, weights.shape[1:]), np.full(weights.shape[1:], LARGEST)):
        first, *others = sums_in_orders(np.rint(STEPS * image).astype(np.float32), rounded, offset)
        for other in others:
            np.testing.assert_array_equal(other, first)


def test_it_ends_with_what_the_level_adds(told):
    graph = Graph(told)
    kinds = {node.name: node.op_type for node in graph.nodes}
    assert [kinds[name] for name in first_layer(graph)] == ["Transpose", "Conv", "Add"]


def test_a_level_that_differs_in_the_last_bits_changes_nothing(told, leveled_samples):
    quantized = quantize(told, calibrate(told, [leveled_samples]))
    session = open_session(quantized.SerializeToString(), "cpu", 1)
    nearly = leveled_samples.sigma * np.float32(1 + 3e-7)
    assert (nearly != leveled_samples.sigma).any()
    first, second = (run_session(session, leveled_samples.noisy, sigma) for sigma in (leveled_samples.sigma, nearly))
    assert np.abs(first - second).max() < 1e-5  # the gain follows the level, and no step is another one
    kinds = [node.op_type for node in quantized.graph.node]
    assert kinds.count("Round") == 2


def test_networks_without_a_level_have_none(blur_denoiser):
    assert first_layer(Graph(blur_denoiser)) == []


def test_every_form_counts_the_image_in_steps(told, leveled_samples):
    forms = rewritten(told, INTEGER_CANDIDATES, 4)
    assert len(forms) > 1
    for model in forms.values():
        graph = Graph(quantize(model, calibrate(model, [leveled_samples])))
        (scaled,) = (node for node in graph.consumers(graph.input.name) if node.op_type == "Mul")
        (counted,) = graph.consumers(scaled.output[0])
        assert counted.op_type == "Round"
        assert not any(node.op_type == "QuantizeLinear" for node in graph.consumers(counted.output[0]))
        first = next(node for node in graph.nodes if node.op_type == "Conv")
        assert len(np.unique(np.abs(graph.constants[first.input[1]]))) > 128  # those of signed 8 bits


def test_the_result_is_nearer_to_float(told, leveled_samples, monkeypatch):
    def error() -> float:
        integer = open_session(quantize(told, calibrate(told, [leveled_samples])).SerializeToString(), "cpu", 1)
        return float(np.mean((run_session(integer, leveled_samples.noisy, leveled_samples.sigma) - expected) ** 2))

    expected = run_session(open_session(told.SerializeToString(), "cpu", 1), leveled_samples.noisy, leveled_samples.sigma)
    exact = error()
    monkeypatch.setattr("dae_export.precision.int8.first_layer", lambda graph: [])
    monkeypatch.setattr("dae_export.precision.int8.make_exact", lambda graph: None)
    assert 0 < exact < 0.9 * error()
