"""The algebra of the rewrites: convolution kernels for blocks of pixels.

All index arithmetic is one-dimensional, for rows and columns alike. A tensor `x` *packed by b* along an
axis has x[b*I + r] at block I, channel group r. Packed channels are ordered (row, column, channel), which is ONNX
DepthToSpace's DCR order and, for columns alone, the memory order of an NHWC tensor whose columns are grouped by b.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dae_runtime.pixels.arrays import FloatArray


class Tap(NamedTuple):
    """Output group reads input block `block` + its own, group `group`, with kernel element `tap`."""

    block: int
    group: int
    tap: int


@dataclass(frozen=True)
class Convolution:
    """A two-dimensional convolution over NCHW tensors."""

    weights: FloatArray
    """(C_out, C_in, rows, columns)."""
    pads: tuple[int, int, int, int]
    """Zeros added at the top, left, bottom, right."""
    strides: tuple[int, int] = (1, 1)


def keeps_grid(kernel: int, stride: int, begin: int, end: int) -> bool:
    """Return whether a convolution turns n * stride pixels into exactly n, for every n."""
    return 0 <= begin + end - kernel + stride < stride


def blocked(convolution: Convolution, out_block: tuple[int, int], in_block: tuple[int, int]) -> Convolution:
    """Return the convolution that computes packed outputs from packed inputs.

    Output pixel B*I + p of a convolution with stride s and leading padding a reads, for tap t, input pixel
    s*(B*I + p) + t - a. With the input packed by b, and b dividing s*B, that is block
    (s*B/b)*I + floor((s*p + t - a) / b), group (s*p + t - a) mod b: a convolution over blocks with stride s*B/b. Zero padding
    stays exact, since blocks outside are zero.

    Args:
        convolution: One that turns n * stride pixels into n.
        out_block: Rows and columns of output pixels in a block.
        in_block: Rows and columns by which the input is packed; must divide stride * out_block.

    Returns:
        A convolution from in_block * C_in to out_block * C_out channels.
    """
    row_taps, rows, top, bottom, row_stride = _block_axis(convolution, 0, out_block[0], in_block[0])
    column_taps, columns, left, right, column_stride = _block_axis(convolution, 1, out_block[1], in_block[1])
    c_out, c_in = convolution.weights.shape[:2]
    shape = (out_block[0], out_block[1], c_out, in_block[0], in_block[1], c_in, rows, columns)
    packed = np.zeros(shape, np.float32)
    for p, of_row in enumerate(row_taps):
        for q, of_column in enumerate(column_taps):
            for i in of_row:
                for j in of_column:
                    kernel = convolution.weights[:, :, i.tap, j.tap]
                    packed[p, q, :, i.group, j.group, :, i.block + top, j.block + left] = kernel
    weights = packed.reshape(out_block[0] * out_block[1] * c_out, in_block[0] * in_block[1] * c_in, rows, columns)
    return Convolution(weights, (top, left, bottom, right), (row_stride, column_stride))


def _block_axis(
    convolution: Convolution, axis: int, out_block: int, in_block: int
) -> tuple[list[list[Tap]], int, int, int, int]:
    size, stride, begin = convolution.weights.shape[2 + axis], convolution.strides[axis], convolution.pads[axis]
    taps = [
        [Tap((stride * p + t - begin) // in_block, (stride * p + t - begin) % in_block, t) for t in range(size)]
        for p in range(out_block)
    ]
    before = -min(0, min(tap.block for row in taps for tap in row))
    length = before + 1 + max(tap.block for row in taps for tap in row)
    block_stride = stride * out_block // in_block
    return taps, length, before, max(0, length - block_stride - before), block_stride


def subpixels(
    weights: FloatArray, stride: tuple[int, int], begin: tuple[int, int], rows: range, columns: range
) -> Convolution:
    """Return the convolution that computes sub-pixels of a transposed convolution.

    A transposed convolution of stride s adds W[t] * x[i] to output pixel s*i + t - a. So output pixel s*I + p gets
    W[t] * x[I - (t - p - a) / s] from every tap t with (t - p - a) mod s = 0: an ordinary convolution for each p
    (Shi et al.: Real-time single image and video super-resolution using an efficient sub-pixel convolutional network, 2016).

    Args:
        weights: (C_in, C_out, rows, columns), ONNX's order for ConvTranspose.
        stride: Upsampling factor of rows and columns; the output must have exactly stride times the input's pixels.
        begin: Leading `pads` of the ConvTranspose.
        rows: The row sub-pixels to compute, of 0..stride-1.
        columns: The column sub-pixels, likewise.

    Returns:
        A convolution with len(rows) * len(columns) * C_out outputs, ordered (row, column, channel).
    """
    row_taps, top, bottom = _subpixel_axis(weights.shape[2], stride[0], begin[0], rows)
    column_taps, left, right = _subpixel_axis(weights.shape[3], stride[1], begin[1], columns)
    c_in, c_out = weights.shape[:2]
    packed = np.zeros((len(rows), len(columns), c_out, c_in, top + bottom + 1, left + right + 1), np.float32)
    for p, of_row in enumerate(row_taps):
        for q, of_column in enumerate(column_taps):
            for i in of_row:
                for j in of_column:
                    packed[p, q, :, :, i.block + top, j.block + left] = weights[:, :, i.tap, j.tap].T
    return Convolution(packed.reshape(-1, *packed.shape[3:]), (top, left, bottom, right))


def _subpixel_axis(size: int, stride: int, begin: int, groups: range) -> tuple[list[list[Tap]], int, int]:
    taps = [[Tap(-(t - p - begin) // stride, 0, t) for t in range(size) if (t - p - begin) % stride == 0] for p in groups]
    offsets = [0, *(tap.block for group in taps for tap in group)]
    return taps, -min(offsets), max(offsets)


def as_convolution(weights: FloatArray, pads: tuple[int, int, int, int]) -> Convolution:
    """Return the convolution that equals a transposed one of stride 1, with the mirrored kernel.

    Args:
        weights: (C_in, C_out, rows, columns).
        pads: Pads of the ConvTranspose; those of the convolution are k - 1 - pad.
    """
    rows, columns = weights.shape[2:]
    mirrored = np.ascontiguousarray(weights.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1])
    top, left, bottom, right = pads
    return Convolution(mirrored, (rows - 1 - top, columns - 1 - left, rows - 1 - bottom, columns - 1 - right))


def trimmed(convolution: Convolution) -> Convolution:
    """Return the same convolution without outer rows and columns of zeros, as far as they are padded."""
    used = np.abs(convolution.weights).sum(axis=(0, 1))
    (first_row, last_row), (first_column, last_column) = (_used_range(used.any(axis=1)), _used_range(used.any(axis=0)))
    top, left, bottom, right = convolution.pads
    rows, columns = used.shape
    cut = (
        min(first_row, top),
        min(first_column, left),
        min(rows - 1 - last_row, bottom),
        min(columns - 1 - last_column, right),
    )
    weights = convolution.weights[:, :, cut[0] : rows - cut[2], cut[1] : columns - cut[3]]
    pads = (top - cut[0], left - cut[1], bottom - cut[2], right - cut[3])
    return Convolution(np.ascontiguousarray(weights), pads, convolution.strides)


def _used_range(used: npt.NDArray[np.bool_]) -> tuple[int, int]:
    indices = np.flatnonzero(used)
    return (int(indices[0]), int(indices[-1])) if indices.size else (0, used.size - 1)
