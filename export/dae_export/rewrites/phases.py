"""Transposed convolutions as one convolution per sub-pixel: the fewest multiplications, best for float32.

A 3x3 kernel of stride 2 has 9 taps. `split_into_rows` needs 12 multiplications (a row of sub-pixels shares one kernel size), a
single convolution for all sub-pixels 16. Here the s*s sub-pixels, or *phases*, are computed separately: 9. Multiplications
dominate the time in float32, but not in INT8.

The phases are interleaved as in `subpixel`, with an extra step for the columns. If the only user is a convolution with few
outputs they are not interleaved: a convolution of an image is the sum of the convolutions of its phases,
    y = sum over (r, c) of W_rc * x_rc,
where W_rc is the part of the blocked kernel for phase (r, c); adding few channels is cheap.
"""

from __future__ import annotations

import numpy as np
import onnx

from ..graph.model import TO_NCHW, TO_NHWC, Graph
from .blocks import best_block
from .builder import Builder, ConvNode, elementwise_after, read_conv
from .kernels import Convolution, blocked, subpixels, trimmed
from .sizes import Divisors, block_size, divisors, upsamples

Phases = list[list[str]]
"""Names of tensors, by row and column."""


def split_into_phases(graph: Graph, alignment_px: int, lanes: int = 16) -> None:
    """Rewrite transposed convolutions as one convolution per sub-pixel.

    Args:
        graph: Changed in place.
        alignment_px: Free heights and widths are multiples of this.
        lanes: Phases are interleaved unless their only user has fewer outputs than this; 1 always interleaves.
    """
    sizes = divisors(graph, alignment_px)
    for node in list(graph.nodes):
        conv = read_conv(graph, node, "ConvTranspose")
        if conv is None or conv.strides == (1, 1) or not all(upsamples(conv, axis) for axis in (0, 1)):
            continue
        chain = [node, *elementwise_after(graph, conv.y)]
        user = _narrow_user(graph, chain[-1].output[0], conv.strides, sizes, lanes)
        build = Builder(graph, node)
        phases = _compute(build, conv, chain[1:])
        if user is None:
            build.replace(chain, _interleave(build, phases, conv.bias.size))
        else:
            after = Builder(graph, user.node)
            tail = [user.node, *elementwise_after(graph, user.y)]
            block = _output_block(user, conv.strides, sizes, lanes)
            y = _sum_over_phases(after, phases, user, block)
            y = after.elementwise(y, tail[1:])
            after.replace(tail, after.add("DepthToSpace", [y], blocksize=block, mode="DCR"))
            for old in chain:
                graph.remove(old)


def _compute(build: Builder, conv: ConvNode, chain: list[onnx.NodeProto]) -> Phases:
    def phase(row: int, column: int) -> str:
        kernel = subpixels(conv.weights, conv.strides, conv.pads[:2], range(row, row + 1), range(column, column + 1))
        return build.elementwise(build.conv(conv.x, kernel, conv.bias), chain)

    return [[phase(row, column) for column in range(conv.strides[1])] for row in range(conv.strides[0])]


def _interleave(build: Builder, phases: Phases, channels: int) -> str:
    rows = []
    for of_row in phases:
        y = build.transpose(build.add("Concat", of_row, axis=1), TO_NHWC)
        # These two reshapes are the identity. They keep onnxruntime from moving the Transpose behind the Concat, where it
        # could not be fused with the reordering of the blocked layout.
        y = build.reshape(y, (0, 0, -1, channels))
        rows.append(build.reshape(y, (0, 0, -1, len(of_row) * channels)))
    y = build.add("Concat", rows, axis=2)
    return build.transpose(build.reshape(y, (0, -1, 0, channels)), TO_NCHW)


def _narrow_user(
    graph: Graph, tensor: str, strides: tuple[int, int], sizes: dict[str, Divisors], lanes: int
) -> ConvNode | None:
    user = read_conv(graph, graph.only_consumer(tensor), "Conv")
    if user is None or user.strides != (1, 1) or user.bias.size >= lanes or user.y not in sizes or strides[0] != strides[1]:
        return None
    return user if _output_block(user, strides, sizes, lanes) > 1 else None


def _output_block(user: ConvNode, strides: tuple[int, int], sizes: dict[str, Divisors], lanes: int) -> int:
    """Return the block side for the last layer: a multiple of the stride, or 1 if none fits."""
    best = min(block_size(size, best_block(user.convolution, lanes, strides[0])) for size in sizes[user.y])
    return best if best % strides[0] == 0 else 1


def _sum_over_phases(build: Builder, phases: Phases, user: ConvNode, block: int) -> str:
    rows, columns, c_in = len(phases), len(phases[0]), user.weights.shape[1]
    kernel = blocked(user.convolution, (block, block), (rows, columns))
    bias = np.tile(user.bias, block * block)
    total: str | None = None
    for row in range(rows):
        for column in range(columns):
            first = (row * columns + column) * c_in
            part = Convolution(kernel.weights[:, first : first + c_in], kernel.pads, kernel.strides)
            y = build.conv(phases[row][column], trimmed(part), bias if total is None else np.zeros_like(bias))
            total = y if total is None else build.add("Add", [total, y])
    assert total is not None
    return total
