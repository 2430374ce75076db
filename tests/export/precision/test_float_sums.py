"""Residual sums of a network that is given the noise level: earlier sums come in unrounded."""

from __future__ import annotations

import numpy as np
import pytest

from dae_export.graph.model import Graph
from dae_export.measure.batches import Leveled
from dae_export.precision import calibrate, quantize
from dae_export.product.variants import rewritten
from dae_export.rewrites import INTEGER_CANDIDATES
from dae_export.source import find_source, load, read_network
from dae_runtime.engine.session import open_session, run_session

BLOCKS = 6


@pytest.fixture(scope="module")
def deep(keras):
    """Build a network of several blocks, told the noise level or not."""

    def build(is_told: bool):
        layers = keras.layers
        image, sigma = keras.Input((None, None, 3), name="noisy"), keras.Input((1,), name="sigma")
        x = layers.Conv2D(16, 4, strides=2, padding="same")(image)
        if is_told:
            x = layers.Add()([x, layers.Reshape((1, 1, 16))(layers.Dense(16)(sigma))])
        for _ in range(BLOCKS):
            y = layers.Conv2D(16, 3, padding="same", activation="relu")(x)
            x = layers.Add()([x, layers.Rescaling(0.2)(layers.Conv2D(16, 3, padding="same")(y))])
        x = layers.Add()([image, layers.Conv2DTranspose(3, 4, strides=2, padding="same")(x)])
        network = keras.Model([image, sigma] if is_told else image, x)
        numbers = np.random.default_rng(7)
        network.set_weights([numbers.normal(0, 1.3 / max(w[..., 0].size, 4) ** 0.5, w.shape) for w in network.get_weights()])
        return read_network(load(find_source(network)), 18).model

    return build


@pytest.fixture(scope="module")
def samples():
    numbers = np.random.default_rng(0)
    clean = numbers.random((8, 8, 8, 3), np.float32).repeat(4, 1).repeat(4, 2)
    sigma = np.linspace(0.005, 0.05, 8, dtype=np.float32)[:, None]
    return Leveled(clean + sigma[:, :, None, None] * numbers.standard_normal(clean.shape, np.float32), sigma)


def sums(graph: Graph) -> list[list[str]]:
    """Return for each residual sum inside the network what kinds of nodes its inputs come from."""
    adds = [node for node in graph.nodes if node.op_type == "Add" and graph.input.name not in node.input]
    makers = [[graph.producer(name) for name in node.input] for node in adds]
    kinds = [sorted(maker.op_type if maker else "" for maker in each) for each in makers]
    return [each for each in kinds if "DequantizeLinear" in each]


def test_only_the_first_sum_takes_a_rounded_one(deep, samples):
    forms = {"plain": deep(True), **rewritten(deep(True), INTEGER_CANDIDATES, 4)}
    assert len(forms) > 2
    for model in forms.values():
        kinds = sums(Graph(quantize(model, calibrate(model, [samples]))))
        assert kinds.count(["Add", "DequantizeLinear"]) == BLOCKS - 1, kinds
        assert kinds.count(["DequantizeLinear", "DequantizeLinear"]) == 1, kinds


def test_networks_without_a_level_add_in_integers(deep, samples):
    model = deep(False)
    kinds = sums(Graph(quantize(model, calibrate(model, [samples.noisy]))))
    assert kinds.count(["DequantizeLinear", "DequantizeLinear"]) == BLOCKS
    assert not any("Add" in each for each in kinds)


def test_the_result_is_nearer_to_float(deep, samples, monkeypatch):
    def error() -> float:
        integer = open_session(quantize(told, calibrate(told, [samples])).SerializeToString(), "cpu", 1)
        return float(np.mean((run_session(integer, samples.noisy, samples.sigma) - expected) ** 2))

    told = deep(True)
    expected = run_session(open_session(told.SerializeToString(), "cpu", 1), samples.noisy, samples.sigma)
    kept = error()
    monkeypatch.setattr("dae_export.precision.int8.keep_sums", lambda graph: None)
    assert 0 < kept < 0.9 * error()
