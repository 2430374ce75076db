"""JPEG compression artifacts, without the lossless entropy coding.

Source:
    ITU-T Recommendation T.81 (JPEG), annexes A.3 and K.1; quality scaling as in the Independent JPEG Group's library
    (jcparam.c); colors as in JFIF 1.02; chroma in full or halved (4:4:4 or 4:2:0), then interpolated linearly as the same
    library does by default (jdsample.c, "fancy upsampling").
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from keras import ops

from .camera_steps import doubled, halved

BLOCK_PX = 8

LUMINANCE_TABLE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    np.float32,
)
CHROMINANCE_TABLE = np.full((8, 8), 99, np.float32)
CHROMINANCE_TABLE[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]

_TO_YCBCR = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]],
    np.float32,
).T
_FROM_YCBCR = np.array([[1, 0, 1.402], [1, -0.344136, -0.714136], [1, 1.772, 0]], np.float32).T
_CHROMA_ZERO = np.array([0, 128, 128], np.float32)


def jpeg(images: Any, quality: Any, halve_chroma: Any = None) -> Any:
    """Return images after JPEG compression.

    Args:
        images: (N, H, W, C) with C 1 or 3, in [0, 1] (clipped to it), of any size; edges are repeated to whole blocks.
        quality: (N, 1, 1, 1), from 1 to 100.
        halve_chroma: (N, 1, 1, 1): whether color is stored at half the height and width; None for no image.

    Returns:
        Images of the same shape in [0, 1], in steps of 1/255.
    """
    levels = ops.round(ops.clip(images, 0, 1) * 255)
    color = images.shape[-1] == 3
    if color:
        levels = ops.round(ops.matmul(levels, _TO_YCBCR) + _CHROMA_ZERO)
    tables = _tables(quality, images.shape[-1])
    full, levels = levels, _coded(levels, tables)
    if color and halve_chroma is not None:
        small = _coded(ops.round(halved(full[..., 1:])), tables[..., 1:])
        chroma = ops.where(halve_chroma, ops.round(doubled(small, images.shape[1:3])), levels[..., 1:])
        levels = ops.concatenate([levels[..., :1], chroma], axis=-1)
    if color:
        levels = ops.matmul(levels - _CHROMA_ZERO, _FROM_YCBCR)
    return ops.clip(ops.round(levels), 0, 255) / 255


def _coded(levels: Any, tables: Any) -> Any:
    """Return whole levels of 0 to 255 as they are behind the code."""
    return ops.clip(ops.round(_through_blocks(levels - 128, tables) + 128), 0, 255)


def _tables(quality: Any, channels: int) -> Any:
    """Return the quantization steps, (N, 1, 8, 1, 8, C)."""
    base = np.stack([LUMINANCE_TABLE] + [CHROMINANCE_TABLE] * (channels - 1), axis=-1)
    percent = ops.where(quality < 50, 5000 / quality, 200 - 2 * quality)
    steps = ops.floor((base * ops.reshape(percent, (-1, 1, 1, 1)) + 50) / 100)
    return ops.reshape(ops.clip(steps, 1, 255), (-1, 1, BLOCK_PX, 1, BLOCK_PX, channels))


def _through_blocks(levels: Any, tables: Any) -> Any:
    """Quantize the cosine coefficients of each 8 x 8 block."""
    height, width, channels = levels.shape[1:]
    rows, columns = -(-height // BLOCK_PX), -(-width // BLOCK_PX)
    for axis, length, blocks in ((1, height, rows), (2, width, columns)):
        levels = ops.take(levels, np.minimum(np.arange(blocks * BLOCK_PX), length - 1), axis=axis)
    blocks = ops.reshape(levels, (-1, rows, BLOCK_PX, columns, BLOCK_PX, channels))
    dct = _dct_matrix()
    coefficients = _both_axes(blocks, dct)
    restored = _both_axes(ops.round(coefficients / tables) * tables, dct.T)
    return ops.reshape(restored, (-1, rows * BLOCK_PX, columns * BLOCK_PX, channels))[:, :height, :width]


def _both_axes(blocks: Any, matrix: npt.NDArray[np.float32]) -> Any:
    """Multiply height and width of (N, rows, 8, columns, 8, C) blocks by an 8 x 8 matrix."""
    return ops.einsum("ui,vj,nricjk->nrucvk", matrix, matrix, blocks)


def _dct_matrix() -> npt.NDArray[np.float32]:
    """Return the orthonormal cosine transform of eight values: D[u, i] = c(u)/2 cos((2 i + 1) u pi / 16)."""
    frequency, place = np.mgrid[:BLOCK_PX, :BLOCK_PX]
    matrix = np.cos((2 * place + 1) * frequency * np.pi / 16) / 2
    matrix[0] /= np.sqrt(2)
    result: npt.NDArray[np.float32] = matrix.astype(np.float32)
    return result
