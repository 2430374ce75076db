"""The edges of a graph as a program needs them: how the noise level comes in, and three channels into a gray network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from dae_runtime.contract import SIGMA_NAME

from ...graph.model import Graph, make_node

END = 2**31 - 1
"""The end of a Slice that goes to the end."""


def build_level_in(model: onnx.ModelProto, level: float) -> onnx.ModelProto:
    """Return a model whose noise level is a constant, on the scale where white is 1; `model` is not changed."""
    graph = Graph(model)
    graph.constants[SIGMA_NAME] = np.full((1, 1), level, np.float32)
    graph.sigma = None
    return graph.to_model()


def take_three_channels(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a gray model that takes three channels, each for itself, as the runtime does; `model` is not changed.

    Args:
        model: N x 1 x H x W, maybe with the input `sigma`, (N, 1).
    """
    graph = Graph(model)
    dims = _dims(graph)
    planes, clean = graph.fresh_name("planes"), graph.fresh_name("clean_planes")
    _replace(graph, graph.input.name, planes)
    nodes = [_reshape(graph, graph.input.name, planes, (-1, 1, 0, 0))]
    if graph.sigma is not None:
        thrice, levels = graph.fresh_name("thrice"), graph.fresh_name("levels")
        _replace(graph, SIGMA_NAME, levels)
        nodes += [
            make_node("Concat", [SIGMA_NAME] * 3, [thrice], name=thrice, axis=1),
            _reshape(graph, thrice, levels, (-1, 1)),
        ]
    output = graph.output.name
    graph.rename(output, clean)
    graph.output.name = output
    graph.nodes = [*nodes, *graph.nodes, _reshape(graph, clean, output, (-1, 3, 0, 0))]
    three = [dims[0], 3, *dims[2:]]
    graph.set_dimensions(three, three)
    return graph.to_model()


def take_level_as(model: onnx.ModelProto, form: str, highest: float) -> onnx.ModelProto:
    """Return a model that takes its noise level as a map or plane, of which the mean counts; `model` is not changed.

    Args:
        model: N x C x H x W, with the input `sigma`, (N, 1).
        form: One of `dae_runtime.contract.SIGMA_FORMS`.
        highest: Level that greater ones count as: the network knows none above.
    """
    if form == "value":
        return model
    graph = Graph(model)
    dims, image = _dims(graph), graph.input.name
    level, mean, bounded = (graph.fresh_name(name) for name in ("level", "mean", "bounded"))
    _replace(graph, SIGMA_NAME, level)
    nodes, source = [], SIGMA_NAME
    if form == "map":
        graph.sigma = helper.make_tensor_value_info(SIGMA_NAME, TensorProto.FLOAT, [dims[0], 1, *dims[2:]])
    else:
        graph.sigma = None
        channels, source = graph.fresh_name("channels"), graph.fresh_name("plane")
        _replace(graph, image, channels)
        nodes = [_slice(graph, image, channels, 0, int(dims[1])), _slice(graph, image, source, int(dims[1]), END)]
    limit = graph.add_constant(np.array(highest, np.float32), "highest")
    nodes += [
        make_node("GlobalAveragePool", [source], [mean], name=mean),
        make_node("Min", [mean, limit], [bounded], name=bounded),
        _reshape(graph, bounded, level, (-1, 1)),
    ]
    graph.nodes[:0] = nodes
    graph.input.type.tensor_type.shape.dim[1].dim_value = int(dims[1]) + (form == "plane")
    return graph.to_model()


def _dims(graph: Graph) -> list[str | int]:
    return [d.dim_param or d.dim_value for d in graph.input.type.tensor_type.shape.dim]


def _replace(graph: Graph, old: str, new: str) -> None:
    """Let all nodes read another tensor."""
    for node in graph.consumers(old):
        node.input[:] = [new if name == old else name for name in node.input]


def _reshape(graph: Graph, source: str, result: str, shape: Sequence[int]) -> onnx.NodeProto:
    return make_node("Reshape", [source, graph.add_constant(np.array(shape, np.int64), "shape")], [result], name=result)


def _slice(graph: Graph, source: str, result: str, start: int, end: int) -> onnx.NodeProto:
    names = [graph.add_constant(np.array([number], np.int64), "channel") for number in (start, end, 1)]
    return make_node("Slice", [source, *names], [result], name=result)
