"""First layers with few input channels, computed for groups of columns.

An NHWC image with C channels, its columns grouped by b, has the same memory layout as an image of W/b columns with b*C
channels; and the output of a convolution that computes b columns at once is, in NHWC order, the plain output. So two reshapes
without data movement turn a 3x3 convolution from 1 to 32 channels into one from 4 to 128 over a quarter of the columns, which
suits the integer kernels of CPUs: they need multiples of 4 input channels and of 16 output channels. Three colors become 12. A
layer of stride s computes b/s columns from b.

Where a bias made from the noise level follows, (N, C, 1, 1), it is added before the columns come apart: to runs of b/s * C
channels instead of C, which takes less time.
"""

from __future__ import annotations

import math

import numpy as np
import onnx

from ..graph.model import TO_NCHW, TO_NHWC, Graph
from .builder import Builder, elementwise_after, read_conv
from .kernels import blocked
from .sizes import block_size, divisors


def group_columns(graph: Graph, alignment_px: int, wanted: int = 4) -> None:
    """Rewrite convolutions with fewer than `wanted` input channels.

    Args:
        graph: Changed in place.
        alignment_px: Free heights and widths are multiples of this.
        wanted: New input channels are a multiple of this, if the width allows.
    """
    sizes = divisors(graph, alignment_px)
    for node in list(graph.nodes):
        conv = read_conv(graph, node, "Conv")
        if conv is None or conv.x not in sizes or conv.y not in sizes:
            continue
        c_out, c_in = conv.weights.shape[:2]
        block = block_size(sizes[conv.x][1], wanted // math.gcd(c_in, wanted))
        outputs, rest = divmod(block, conv.strides[1])
        if c_in >= wanted or block == 1 or rest or sizes[conv.y][1] % outputs:
            continue
        chain = [node, *elementwise_after(graph, conv.y)]
        level = _level_bias(graph, chain[-1].output[0])
        build = Builder(graph, node)
        x = build.reshape(build.transpose(conv.x, TO_NHWC), (0, 0, -1, block * c_in))
        kernel = blocked(conv.convolution, (1, outputs), (1, block))
        y = build.conv(build.transpose(x, TO_NCHW), kernel, np.tile(conv.bias, outputs))
        y = build.elementwise(y, chain[1:])
        if level is not None:
            y = build.add("Add", [y, build.add("Tile", [level[1], build.array(np.array([1, outputs, 1, 1], np.int64))])])
            chain.append(level[0])
        y = build.transpose(y, TO_NHWC)
        build.replace(chain, build.transpose(build.reshape(y, (0, 0, -1, c_out)), TO_NCHW))
        graph.clean()  # sorts what makes the bias before its new user


def _level_bias(graph: Graph, tensor: str) -> tuple[onnx.NodeProto, str] | None:
    """Return the only consumer of a tensor, if it adds a bias made from the noise level, and that bias; otherwise None."""
    user = graph.only_consumer(tensor)
    if user is None or user.op_type != "Add":
        return None
    biases = graph.of_sigma().intersection(user.input)
    return (user, biases.pop()) if biases else None
