"""A last layer with few output channels, computed for a block of pixels at once.

The integer kernels of CPUs compute 16 output channels in the time of one. A convolution of stride s with kernel k and C
outputs equals one of stride b*s with kernel k + (b-1)*s and b*b*C outputs, one for each pixel of a b x b block, followed by
DepthToSpace: with b = 4 and C = 1 all 16 outputs are wanted, and the cost per pixel falls from k*k*16 to (k+3)*(k+3).
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from .graph import Builder, elementwise_after, read_conv
from .kernels import blocked
from .sizes import block_size, divisors


def widen_narrow_outputs(graph: ir.Graph, alignment_px: int, lanes: int = 16) -> int:
    """Rewrite convolutions with fewer than `lanes` output channels; return how many were rewritten."""
    sizes = divisors(graph, alignment_px)
    count = 0
    for node in list(graph):
        conv = read_conv(node, "Conv")
        if conv is None or conv.y not in sizes:
            continue
        c_out = conv.weights.shape[0]
        block = block_size(min(sizes[conv.y]), _wanted(c_out, lanes))
        if c_out >= lanes or block == 1 or any(size % block for size in sizes[conv.y]):
            continue
        chain = [node, *elementwise_after(conv.y)]
        build = Builder(graph, node)
        kernel = blocked(conv.convolution, (block, block), (1, 1))
        y = build.conv(conv.x, kernel, np.tile(conv.bias, block * block))
        y = build.elementwise(y, chain[1:])
        build.replace(chain, build.add("DepthToSpace", [y], {"blocksize": block, "mode": "DCR"}))
        count += 1
    return count


def _wanted(c_out: int, lanes: int) -> int:
    block = 1
    while block * block * c_out < lanes:
        block *= 2
    return block
