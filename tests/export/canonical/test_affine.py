"""Scales and shifts per channel fold exactly into adjacent layers, including borders."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from dae_export.canonical.affine import fold_affine
from dae_export.graph.model import Graph

SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
CHANNELS = 4


class Net:
    """A graph on N x 3 x H x W images, built node by node."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []

    def constant(self, value: Any) -> str:
        name = f"c{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        return name

    def random(self, *shape: int) -> str:
        return self.constant(self.rng.normal(0, 0.5, shape))

    def add(self, kind: str, *inputs: str, output: str | None = None, **values: Any) -> str:
        name = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **values))
        return name

    def convolution(self, kind: str, x: str, inputs: int, outputs: int, kernel: int, output: str | None = None) -> str:
        pads = [(kernel - 1) // 2] * 2 + [kernel // 2] * 2
        shape = (outputs, inputs) if kind == "Conv" else (inputs, outputs)
        weights = [self.random(*shape, kernel, kernel), self.random(outputs)]
        return self.add(kind, x, *weights, output=output, kernel_shape=[kernel] * 2, strides=[1, 1], pads=pads)

    def graph(self) -> Graph:
        edges = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, "h", "w"])
            for name, channels in (("noisy", 3), ("denoised", 2))
        ]
        body = helper.make_graph(self.nodes, "net", edges[:1], edges[1:], self.tensors)
        return Graph(helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=8))


def check(run_onnx: Any, graph: Graph, kinds: dict[str, int]) -> None:
    noisy = np.random.default_rng(1).random((2, 3, 5, 4), np.float32)
    before = run_onnx(graph.to_model(), noisy)
    fold_affine(graph)
    assert graph.kinds() == kinds
    np.testing.assert_allclose(run_onnx(graph.to_model(), noisy), before, atol=2e-5, rtol=1e-4)


@SETTINGS
@given(
    first=st.sampled_from(["Conv", "ConvTranspose"]),
    second=st.sampled_from(["Conv", "ConvTranspose"]),
    activation=st.sampled_from([None, "LeakyRelu", "Relu", "Elu", "Sigmoid", "Tanh", "Softplus"]),
    steps=st.lists(st.sampled_from(["Mul", "Add", "Sub", "Div", "Minus", "BatchNormalization"]), min_size=1, max_size=3),
    scalar=st.booleans(),
    kernels=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    seed=st.integers(0, 99),
)
def test_a_chain_between_two_convolutions_disappears(run_onnx, first, second, activation, steps, scalar, kernels, seed):
    net = Net(seed)
    x = net.convolution(first, "noisy", 3, CHANNELS, kernels[0])
    x = net.add(activation, x) if activation else x
    shape = () if scalar else (1, CHANNELS, 1, 1)
    for step in steps:
        if step == "BatchNormalization":
            statistics = [net.random(CHANNELS) for _ in range(3)] + [net.constant(net.rng.uniform(0.5, 2, CHANNELS))]
            x = net.add(step, x, *statistics)
        elif step == "Minus":
            x = net.add("Sub", net.random(*shape), x)
        elif step == "Div":
            x = net.add(step, x, net.constant(net.rng.uniform(0.5, 2, shape)))
        else:
            x = net.add(step, x, net.random(*shape))
    net.convolution(second, x, CHANNELS, 2, kernels[1], "denoised")
    expected = {kind: [first, second].count(kind) for kind in (first, second)}
    check(run_onnx, net.graph(), expected | ({activation: 1} if activation else {}))


def test_a_layer_that_is_used_twice_keeps_its_other_use(run_onnx):
    net = Net(0)
    x = net.convolution("Conv", "noisy", 3, CHANNELS, 3)
    x = net.add("Relu", x)
    scaled = net.add("Mul", x, net.random(1, CHANNELS, 1, 1))
    weight, bias = net.random(2, CHANNELS, 3, 3), net.random(2)
    values = {"kernel_shape": [3, 3], "strides": [1, 1], "pads": [1, 1, 1, 1]}
    both = [net.add("Conv", source, weight, bias, **values) for source in (x, scaled)]
    net.add("Add", *both, output="denoised")
    check(run_onnx, net.graph(), {"Conv": 3, "Relu": 1, "Add": 1})


@pytest.mark.parametrize("where", ["input", "output", "sum", "used twice"])
def test_what_fits_nowhere_stays(run_onnx, where):
    net = Net(0)
    x = "noisy"
    if where == "input":
        x = net.add("Add", x, net.random(1, 3, 1, 1))
    x = net.add("Relu", net.convolution("Conv", x, 3, CHANNELS, 3))
    kinds = {"Conv": 2, "Relu": 1, "Add": 1}
    if where == "sum":
        x = net.add("Mul", x, x)
        x = net.add("Add", x, net.random(1, CHANNELS, 1, 1))
        kinds["Mul"] = 1
    if where == "used twice":
        shifted = net.add("Add", x, net.random(1, CHANNELS, 1, 1))
        x = net.add("Mul", shifted, x)  # the layer before may not change what the other path sees
        kinds["Mul"] = 1
    if where == "output":
        x = net.add("Relu", net.convolution("Conv", x, CHANNELS, 2, 3))
        net.add("Add", x, net.random(1, 2, 1, 1), output="denoised")
        kinds["Relu"] = 2
    else:
        net.convolution("Conv", x, CHANNELS, 2, 3, "denoised")
    check(run_onnx, net.graph(), kinds)
