"""Residual sums of a network that is given the noise level: earlier sums come in unrounded."""

from __future__ import annotations

import numpy as np
import pytest

from dae_export.graph.model import Graph
from dae_export.precision import calibrate, quantize
from dae_export.product.variants import rewritten
from dae_export.rewrites import INTEGER_CANDIDATES
from dae_export.source import find_source, load, read_network
from dae_runtime.engine.session import open_session, run_session

BLOCKS = 6


@pytest.fixture(scope="module")
def told(make_leveled):
    """The canonical graph of a network of several blocks that is given the noise level."""
    return read_network(load(find_source(make_leveled(3, blocks=BLOCKS))), 18).model


@pytest.fixture(scope="module")
def blind(keras, make_model):
    """The same without a level."""
    layers = keras.layers

    def network(image):
        x = layers.Conv2D(16, 4, strides=2, padding="same")(image)
        for _ in range(BLOCKS):
            y = layers.Conv2D(16, 3, padding="same", activation="relu")(x)
            x = layers.Add()([x, layers.Conv2D(16, 3, padding="same")(y)])
        return layers.Add()([image, layers.Conv2DTranspose(3, 4, strides=2, padding="same")(x)])

    return read_network(load(find_source(make_model(network, (None, None, 3)))), 18).model


def sums(graph: Graph) -> list[list[str]]:
    """Return for each residual sum inside the network what kinds of nodes its inputs come from."""
    adds = [node for node in graph.nodes if node.op_type == "Add" and graph.input.name not in node.input]
    makers = [[graph.producer(name) for name in node.input] for node in adds]
    kinds = [sorted(maker.op_type if maker else "" for maker in each) for each in makers]
    return [each for each in kinds if "DequantizeLinear" in each]


def test_only_the_first_sum_takes_a_rounded_one(told, leveled_samples):
    forms = {"plain": told, **rewritten(told, INTEGER_CANDIDATES, 4)}
    assert len(forms) > 2
    for model in forms.values():
        kinds = sums(Graph(quantize(model, calibrate(model, [leveled_samples]))))
        assert kinds.count(["Add", "DequantizeLinear"]) == BLOCKS - 1, kinds
        assert kinds.count(["DequantizeLinear", "DequantizeLinear"]) == 1, kinds


def test_networks_without_a_level_add_in_integers(blind, leveled_samples):
    kinds = sums(Graph(quantize(blind, calibrate(blind, [leveled_samples.noisy]))))
    assert kinds.count(["DequantizeLinear", "DequantizeLinear"]) == BLOCKS
    assert not any("Add" in each for each in kinds)


def test_the_result_is_nearer_to_float(told, leveled_samples, monkeypatch):
    def error() -> float:
        integer = open_session(quantize(told, calibrate(told, [leveled_samples])).SerializeToString(), "cpu", 1)
        return float(np.mean((run_session(integer, leveled_samples.noisy, leveled_samples.sigma) - expected) ** 2))

    expected = run_session(open_session(told.SerializeToString(), "cpu", 1), leveled_samples.noisy, leveled_samples.sigma)
    kept = error()
    monkeypatch.setattr("dae_export.precision.int8.keep_sums", lambda graph: None)
    assert 0 < kept < 0.9 * error()
