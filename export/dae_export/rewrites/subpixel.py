"""Transposed convolutions as ordinary ones.

onnxruntime has no integer kernel for ConvTranspose and a slow one in float32. Every sub-pixel of its output is an ordinary
convolution of its input (see `kernels.subpixels`). Interleaving the sub-pixels is nearly free in NHWC: a convolution that
computes the s column sub-pixels of one row sub-pixel p yields (N, h, w, s*C), the memory layout of rows s*I + p of the output.
Concatenating s of them along the third axis gives (N, h, s*w, s*C), the memory layout of (N, s*h, s*w, C): whole rows are
copied, and the rest is a reshape without shape arithmetic.

Elementwise operators commute with all of this and come first, where they fuse with the convolution.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx

from ..graph.model import TO_NCHW, TO_NHWC, Graph
from .blocks import best_block
from .builder import Builder, ConvNode, elementwise_after, read_conv
from .kernels import Convolution, as_convolution, blocked, subpixels
from .sizes import block_size, divisors, upsamples


def split_into_rows(graph: Graph) -> None:
    """Rewrite transposed convolutions as one convolution for each row sub-pixel."""
    for conv, chain, build in _candidates(graph):
        rows, columns = conv.strides
        parts = []
        for row in range(rows):
            kernel = subpixels(conv.weights, conv.strides, conv.pads[:2], range(row, row + 1), range(columns))
            y = build.conv(conv.x, kernel, np.tile(conv.bias, columns))
            parts.append(build.transpose(build.elementwise(y, chain[1:]), TO_NHWC))
        y = build.add("Concat", parts, axis=2)
        y = build.reshape(y, (0, -1, 0, conv.bias.size))
        build.replace(chain, build.transpose(y, TO_NCHW))


def to_depth_to_space(graph: Graph, alignment_px: int = 1, lanes: int | None = None) -> None:
    """Rewrite transposed convolutions as one convolution for all sub-pixels and DepthToSpace.

    Args:
        graph: Changed in place.
        alignment_px: Free heights and widths are multiples of this.
        lanes: Only those with at most this many channels of all sub-pixels, computed for a block of pixels that fills them:
            integer kernels of CPUs compute 16 output channels in the time of one.
    """
    sizes = divisors(graph, alignment_px)
    for conv, chain, build in _candidates(graph):
        stride, outputs = conv.strides[0], conv.bias.size * conv.strides[0] * conv.strides[1]
        if conv.strides[0] != conv.strides[1] or (lanes is not None and outputs > lanes):
            continue
        kernel = subpixels(conv.weights, conv.strides, conv.pads[:2], range(stride), range(stride))
        block = 1
        if lanes is not None:
            wanted = best_block(kernel, lanes)
            block = min(block_size(size, wanted) for size in sizes.get(conv.x, (1, 1)))
        kernel = _pixel_blocks(kernel, block, stride)
        y = build.conv(conv.x, kernel, np.tile(conv.bias, (block * stride) ** 2))
        y = build.elementwise(y, chain[1:])
        build.replace(chain, build.add("DepthToSpace", [y], blocksize=block * stride, mode="DCR"))


def _pixel_blocks(kernel: Convolution, block: int, stride: int) -> Convolution:
    """Return the convolution that computes the sub-pixels of block x block positions, in pixel order."""
    if block == 1:
        return kernel
    wide = blocked(kernel, (block, block), (1, 1))
    shape = wide.weights.shape
    parts = wide.weights.reshape(block, block, stride, stride, -1, *shape[1:])  # row, column, row and column within, channel
    return Convolution(np.ascontiguousarray(parts.swapaxes(1, 2)).reshape(shape), wide.pads, wide.strides)


def mirror_stride_one(graph: Graph) -> None:
    """Rewrite transposed convolutions of stride 1 as ordinary ones with the mirrored kernel."""
    for node in list(graph.nodes):
        conv = read_conv(graph, node, "ConvTranspose")
        if conv is None or conv.strides != (1, 1) or conv.output_padding != (0, 0):
            continue
        kernel = as_convolution(conv.weights, conv.pads)
        if min(kernel.pads) < 0:
            continue
        build = Builder(graph, node)
        build.replace([node], build.conv(conv.x, kernel, conv.bias))


def _candidates(graph: Graph) -> Iterator[tuple[ConvNode, list[onnx.NodeProto], Builder]]:
    # Read lazily: rewriting one changes the input of the next.
    for node in list(graph.nodes):
        conv = read_conv(graph, node, "ConvTranspose")
        if conv is not None and conv.strides != (1, 1) and all(upsamples(conv, axis) for axis in (0, 1)):
            yield conv, [node, *elementwise_after(graph, conv.y)], Builder(graph, node)
