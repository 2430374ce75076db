"""The bias that the noise level adds to the first layer, in every form of the graph."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dae_export.graph.macs import count_macs
from dae_export.graph.model import Graph
from dae_export.graph.residual import correction_of, float_nodes, level_gain
from dae_export.measure.batches import Leveled
from dae_export.precision import calibrate, near_halves, quantize, round_weights
from dae_export.precision.scales import layer_of
from dae_export.product.variants import rewritten
from dae_export.rewrites import FLOAT_CANDIDATES, INTEGER_CANDIDATES
from dae_export.source import KerasModel, Network, read_network
from dae_runtime.contract import SigmaInput


@pytest.fixture(scope="module", params=[1, 3], ids=["gray", "color"])
def network(request, make_leveled) -> Network:
    read = read_network(KerasModel(make_leveled(request.param), "leveled"), 18)
    return replace(read, sigma=SigmaInput(0, 0.25))


@pytest.fixture
def batch(network) -> Leveled:
    rng = np.random.default_rng(0)
    noisy = rng.random((4, 32, 24, network.images.channels), np.float32)
    return Leveled(noisy, np.float32([[0], [0.05], [0.15], [0.25]]))


def test_every_form_is_the_network(network):
    forms = rewritten(network.model, (*FLOAT_CANDIDATES, *INTEGER_CANDIDATES[1:]), network.images.alignment_px)
    assert len(forms) >= 4
    for model in forms.values():
        assert network.parity(model, 1e-5).max_abs_error < 1e-5


def test_sums_are_exact_and_level_zero_changes_nothing(network, batch):
    from dae_runtime.engine.session import open_session, run_session

    forms = rewritten(network.model, INTEGER_CANDIDATES, network.images.alignment_px)
    for name, model in forms.items():
        weights = round_weights(model, [batch], network.images.alignment_px)
        integer = quantize(model, calibrate(model, [batch]), (), weights)
        assert near_halves(integer) == [], name
        session = open_session(integer.SerializeToString())
        received = run_session(session, batch.noisy, batch.sigma)
        np.testing.assert_array_equal(received[0], batch.noisy[0])
        expected = network.keras(*batch)
        assert np.abs(received - expected).max() < 0.15 * np.abs(expected - batch.noisy).max(), name


def test_bias_is_added_to_several_columns_at_once(network):
    forms = rewritten(network.model, INTEGER_CANDIDATES, network.images.alignment_px)
    graph = Graph(forms["phases-16"])
    (tile,) = (node for node in graph.nodes if node.op_type == "Tile")
    (add,) = graph.consumers(tile.output[0])
    assert add.op_type == "Add"
    assert {layer_of(tile.name), layer_of(add.name)} == {"conv_1"}
    assert tile.name in float_nodes(graph)
    assert add.name not in float_nodes(graph)


def test_branch_of_the_level_costs_nothing_for_each_pixel(network):
    graph = Graph(network.model)
    assert [node.op_type for node in graph.nodes].count("Gemm") == 2
    assert not any(name.startswith("gemm") for name in count_macs(network.model, 32, 32))
    gain = level_gain(graph)
    assert gain is not None
    found = correction_of(graph)
    assert found is not None
    assert found[0].name == gain.name
    maker = graph.producer(found[1])
    assert maker is not None
    assert maker.op_type == "Transpose"
