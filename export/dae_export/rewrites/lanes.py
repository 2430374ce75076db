"""Output channels zero-padded to full vector registers.

onnxruntime's integer convolution leaves its fast path when the number of output channels is no multiple of 16 (a layer from
128 to 4 channels took five times as long as with 12 additional channels of zeros). The next layer ignores the added channels
by zero weights; otherwise a Slice removes them.
"""

from __future__ import annotations

import numpy as np
import onnx

from dae_runtime.pixels.arrays import FloatArray

from ..graph.model import Graph
from .builder import Builder, ConvNode, elementwise_after, read_conv
from .kernels import Convolution


def fill_lanes(graph: Graph, lanes: int = 16) -> None:
    """Pad the outputs of every convolution to a multiple of `lanes`."""
    while (conv := next(filter(None, (_unfilled(graph, node, lanes) for node in graph.nodes)), None)) is not None:
        _fill(graph, conv, -conv.bias.size % lanes)


def _unfilled(graph: Graph, node: onnx.NodeProto, lanes: int) -> ConvNode | None:
    conv = read_conv(graph, node, "Conv")
    return None if conv is None or conv.bias.size % lanes == 0 else conv


def _fill(graph: Graph, conv: ConvNode, extra: int) -> None:
    chain = [conv.node, *elementwise_after(graph, conv.y)]
    build = Builder(graph, conv.node)
    kernel = Convolution(_with_zeros(conv.weights, 0, extra), conv.pads, conv.strides)
    y = build.elementwise(build.conv(conv.x, kernel, _with_zeros(conv.bias, 0, extra)), chain[1:])
    following = read_conv(graph, graph.only_consumer(chain[-1].output[0]), "Conv")
    if following is None:
        bounds = [build.array(np.array([n], np.int64)) for n in (0, conv.bias.size, 1)]
        build.replace(chain, build.add("Slice", [y, *bounds]))
    else:
        after = Builder(graph, following.node)
        kernel = Convolution(_with_zeros(following.weights, 1, extra), following.pads, following.strides)
        after.replace([following.node], after.conv(y, kernel, following.bias))
        for node in chain:
            graph.remove(node)


def _with_zeros(array: FloatArray, axis: int, extra: int) -> FloatArray:
    widths = [(0, extra if i == axis else 0) for i in range(array.ndim)]
    return np.pad(array, widths)
