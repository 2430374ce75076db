"""Last layers with few output channels, computed for blocks of pixels.

The integer kernels of CPUs compute 16 output channels in the time of one. A convolution of stride s with kernel k and C
outputs equals one of stride b*s with kernel k + (b-1)*s and b*b*C outputs, one for each pixel of a b x b block, followed by
DepthToSpace: with b = 4 and C = 1 all 16 outputs are used, and the cost per pixel falls from k*k*16 to (k+3)*(k+3). Three
colors use b = 2: 12 of 16 outputs.
"""

from __future__ import annotations

import math

import numpy as np

from ..graph.model import Graph
from .builder import Builder, elementwise_after, read_conv
from .kernels import Convolution, blocked
from .sizes import block_size, divisors


def widen_narrow_outputs(graph: Graph, alignment_px: int, lanes: int = 16) -> None:
    """Rewrite convolutions with fewer than `lanes` output channels."""
    sizes = divisors(graph, alignment_px)
    for node in list(graph.nodes):
        conv = read_conv(graph, node, "Conv")
        if conv is None or conv.y not in sizes:
            continue
        c_out = conv.weights.shape[0]
        block = min(block_size(size, best_block(conv.convolution, lanes)) for size in sizes[conv.y])
        if c_out >= lanes or block == 1:
            continue
        chain = [node, *elementwise_after(graph, conv.y)]
        build = Builder(graph, node)
        kernel = blocked(conv.convolution, (block, block), (1, 1))
        y = build.conv(conv.x, kernel, np.tile(conv.bias, block * block))
        y = build.elementwise(y, chain[1:])
        build.replace(chain, build.add("DepthToSpace", [y], blocksize=block, mode="DCR"))


def best_block(convolution: Convolution, lanes: int, least: int = 1) -> int:
    """Return the block side, `least` times a power of two, with the fewest multiplications per pixel."""
    c_out, _, *kernel = convolution.weights.shape

    def cost(block: int) -> float:
        taps = math.prod(size + (block - 1) * stride for size, stride in zip(kernel, convolution.strides, strict=True))
        return float(taps * -(-block * block * c_out // lanes) * lanes / block**2)

    return min((least, 2 * least, 4 * least), key=cost)
