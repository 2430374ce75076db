"""Counts of multiplications against the arithmetic of the layers, and which of them are done in integers."""

from __future__ import annotations

import numpy as np
import pytest

from dae_export.graph.macs import count_macs, integer_nodes, macs_per_pixel, share
from dae_export.precision import calibrate, quantize
from dae_export.rewrites import apply
from dae_export.rewrites.recipe import INTEGER_PHASES, INTEGER_ROWS, PHASES, ROWS
from dae_export.source import KerasModel, read_network


@pytest.fixture(scope="module")
def v2(make_v2):
    return read_network(KerasModel(make_v2(), "test"), 18).model


def test_the_seed_network_costs_what_its_layers_say(v2):
    assert macs_per_pixel(v2, 64, 48) == macs_per_pixel(v2, 4, 4) == 19008
    each = count_macs(v2, 8, 8)
    assert list(each) == ["conv_1", "conv_2", "conv_3", "convtranspose_1", "convtranspose_2", "convtranspose_3"]
    assert [n // 64 for n in each.values()] == [288, 4608, 4608, 4608, 4608, 288]
    assert share(each, {"conv_1", "conv_2"}) == pytest.approx(4896 / 19008)
    assert share({}, set()) == 0


def test_rewrites_compute_a_little_more(v2):
    per_pixel = {r.name: macs_per_pixel(apply(v2, r, 4), 64, 64) for r in (PHASES, ROWS, INTEGER_PHASES, INTEGER_ROWS)}
    assert per_pixel["phases"] == 19008 + 3 * 288  # the last layer for 16 pixels at once: 36 taps instead of 9
    assert per_pixel["phases-16"] == 19008 + 3 * 288 + 3 * 288  # and the first for 4 columns: 3 times 12 taps instead of 9
    assert per_pixel["rows-16"] == per_pixel["rows"] == per_pixel["phases-16"] + 9216 / 3


def test_a_dense_layer_counts_its_matrix(make_v1):
    model = read_network(KerasModel(make_v1(), "test"), 18).model
    each = count_macs(model, 28, 28)
    assert [n for name, n in each.items() if name.startswith("gemm")] == [3136 * 2, 2 * 3136]


@pytest.mark.slow
def test_integer_layers_are_those_between_integers(v2):
    noisy = np.random.default_rng(0).random((1, 16, 16, 1), np.float32)
    ranges = calibrate(v2, [noisy])
    integer = quantize(v2, ranges)
    assert count_macs(integer, 8, 8) == count_macs(v2, 8, 8)
    assert integer_nodes(v2) == set()
    assert integer_nodes(integer) == {"conv_1", "conv_2", "conv_3"}
    assert integer_nodes(quantize(v2, ranges, ["conv_2"])) == {"conv_1", "conv_3"}
