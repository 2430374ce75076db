"""The editable graph: questions, edits, and a valid model at the end."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from dae_export.errors import ConversionError
from dae_export.graph.model import Graph, attributes, make_node, set_attributes


@pytest.fixture
def graph(blur_denoiser):
    return Graph(blur_denoiser)


def test_producers_and_consumers_of_a_tensor(graph):
    conv = graph.producer("c1")
    assert conv is not None
    assert conv.op_type == "Conv"
    assert [node.op_type for node in graph.consumers("c1")] == ["LeakyRelu"]
    assert graph.only_consumer("c1") is graph.consumers("c1")[0]
    assert graph.producer("noisy") is None
    assert graph.only_consumer("denoised") is None
    assert graph.constant("w1").shape == (8, 1, 3, 3)
    assert graph.constant("c1") is None
    assert graph.shapes["c1"] == (None, 8, None, None)
    assert graph.kinds() == {"Transpose": 2, "Conv": 2, "LeakyRelu": 1}
    assert graph.opset == 18


def test_a_branch_has_no_only_consumer(graph):
    graph.insert_before(graph.nodes[-1], [make_node("Add", ["c2", "x"], ["sum"])])
    graph.redirect("sum", "sum")
    graph.consumers("c2")[-1].input[0] = "sum"
    assert graph.only_consumer("x") is None
    graph.to_model()


def test_edits_end_in_a_valid_model(graph, blur_denoiser, run_onnx, pictures):
    relu = graph.consumers("c1")[0]
    slope = graph.add_constant(np.full((8, 1, 1), 0.3, np.float32), "slope")
    graph.replace(relu, [make_node("PRelu", ["c1", slope], ["a1"])])
    graph.rename("a1", "renamed")
    graph.nodes.reverse()  # to_model sorts
    noisy, _ = pictures(2, 12)
    np.testing.assert_allclose(run_onnx(graph.to_model(), noisy), run_onnx(blur_denoiser, noisy), atol=1e-6)


def test_bypass_and_clean_drop_unused_nodes(graph):
    graph.add_constant(np.zeros(3, np.float32), "unused")
    graph.nodes.append(make_node("Relu", ["c1"], ["unused_out"]))
    graph.bypass(graph.consumers("c1")[0])
    model = graph.to_model()
    assert [node.op_type for node in model.graph.node] == ["Transpose", "Conv", "Conv", "Transpose"]
    assert {tensor.name for tensor in model.graph.initializer} == {"w1", "b1", "w2", "b2"}


def test_the_source_is_not_changed(blur_denoiser):
    before = blur_denoiser.SerializeToString()
    graph = Graph(blur_denoiser)
    graph.nodes[1].name = "other"
    graph.constants["w1"][:] = 0
    graph.output.name = "other"
    assert blur_denoiser.SerializeToString() == before


def test_redirecting_the_output_moves_it(graph):
    graph.bypass(graph.nodes[-1])
    assert graph.output.name == "c2"


def test_constant_nodes_become_constants():
    value = helper.make_node("Constant", [], ["one"], value=helper.make_tensor("v", TensorProto.FLOAT, [1], [1.0]))
    edges = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None]) for name in ("x", "y")]
    body = helper.make_graph([value, helper.make_node("Add", ["x", "one"], ["y"])], "g", edges[:1], edges[1:])
    graph = Graph(helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)]))
    assert [node.op_type for node in graph.nodes] == ["Add"]
    assert graph.constant("one").tolist() == [1.0]


def test_attributes_are_python_values(graph):
    conv = graph.producer("c1")
    values = attributes(conv)
    assert values["pads"] == [1, 1, 1, 1]
    set_attributes(conv, values | {"auto_pad": "SAME_UPPER", "pads": None})
    assert attributes(conv)["auto_pad"] == "SAME_UPPER"
    assert "pads" not in attributes(conv)


def test_an_inconsistent_graph_is_refused(graph):
    set_attributes(graph.nodes[0], {"perm": [0, 1]})
    with pytest.raises(ConversionError, match=r"inconsistent|valid"):
        graph.to_model()


def test_several_inputs_are_refused():
    edges = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "abc"]
    body = helper.make_graph([helper.make_node("Add", ["a", "b"], ["c"])], "g", edges[:2], edges[2:])
    with pytest.raises(ConversionError, match="2 and 1"):
        Graph(helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)]))


def test_the_model_names_its_producer_and_is_readable_by_old_runtimes(graph):
    model = graph.to_model()
    assert model.producer_name == "dae-toolkit"
    assert model.ir_version == 8
    onnx.checker.check_model(model, full_check=True)
