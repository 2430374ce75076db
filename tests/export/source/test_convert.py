"""Plain conversions by tf2onnx, which now and then loses a node."""

from __future__ import annotations

import copy

import onnx
import pytest

from dae_export.errors import ConversionError
from dae_export.source import KerasModel, convert_plainly
from dae_export.source import convert as conversion
from dae_runtime.contract import OUTPUT_NAME


@pytest.fixture(scope="module")
def network(make_v2) -> KerasModel:
    return KerasModel(make_v2(filters=(4, 4, 8)), "tiny")


@pytest.fixture(scope="module")
def whole(network) -> onnx.ModelProto:
    return convert_plainly(network)


def without_squeeze(whole: onnx.ModelProto) -> onnx.ModelProto:
    """The graph as tf2onnx gives it once in a hundred times."""
    cut = copy.deepcopy(whole)
    assert cut.graph.node.pop().op_type == "Squeeze"
    cut.graph.node[-1].output[0] = OUTPUT_NAME
    return cut


def test_a_graph_that_lost_a_node_is_converted_again(network, whole, monkeypatch):
    results = [without_squeeze(whole), without_squeeze(whole), whole]
    monkeypatch.setattr(conversion, "_run", lambda *arguments: results.pop(0))
    assert convert_plainly(network) == whole
    assert results == []


def test_a_graph_that_never_has_its_shapes_is_an_error(network, whole, monkeypatch):
    monkeypatch.setattr(conversion, "_run", lambda *arguments: without_squeeze(whole))
    with pytest.raises(ConversionError, match="another shape"):
        convert_plainly(network)
