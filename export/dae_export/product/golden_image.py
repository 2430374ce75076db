"""The image of a golden sample: what a wrong kernel gets wrong, on 48 x 48 pixels.

A kernel that cuts off sums does so where products are large: on white, on nearly white, at hard edges, in saturated colors;
on a picture of middle brightness it may do no harm that a test would see.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

GOLDEN_SIDE_PX = 48
NOISE = 25 / 255
STRONG_NOISE = 60 / 255
NEARLY_WHITE = 235 / 255

FloatArray = npt.NDArray[np.float32]


def golden_image(noisy: FloatArray, height_px: int, width_px: int) -> FloatArray:
    """Return (1, H, W, C) little-endian float32 in [0, 1]: nine fields in three rows, with noise.

    A piece of the noisy image, white, black; nearly white, gray with strong noise, a checkerboard of black and white; and
    three fields of saturated colors (of a gray image: of slopes and stripes), so that every color channel is at both ends of
    its range beside others that are not.

    Args:
        noisy: (N, H, W, C), of any size; the first image is used, repeated where it is too small.
        height_px: Of the result.
        width_px: Likewise.
    """
    random = np.random.default_rng(0)
    channels = noisy.shape[3]
    rows, columns = np.arange(height_px) % noisy.shape[1], np.arange(width_px) % noisy.shape[2]
    image = noisy[0][np.ix_(rows, columns)].astype(np.float64)
    noise = NOISE * random.standard_normal(image.shape)
    for index, field in enumerate(_fields(channels, -(-height_px // 3), -(-width_px // 3)), 1):
        row, column = divmod(index, 3)
        part = np.s_[row * height_px // 3 : (row + 1) * height_px // 3, column * width_px // 3 : (column + 1) * width_px // 3]
        size = image[part].shape
        image[part] = field[: size[0], : size[1]] + noise[part] * (STRONG_NOISE / NOISE if index == 4 else 1)
    return np.ascontiguousarray(np.clip(image, 0, 1)[None], "<f4")


def _fields(channels: int, height_px: int, width_px: int) -> list[npt.NDArray[np.float64]]:
    """Return the eight fields behind the first, without noise, (H, W, C) each."""
    row, column = np.mgrid[:height_px, :width_px]
    slope = column / max(width_px - 1, 1)
    patterns = [slope, (column // 2 % 2).astype(float), ((row + column) // 3 % 2).astype(float)]
    board = ((row + column) % 2).astype(float)
    flat = [np.full((height_px, width_px), level) for level in (1.0, 0.0, NEARLY_WHITE, 0.5)]
    fields = [np.repeat(level[..., None], channels, 2) for level in (*flat, board)]
    if channels == 1:
        return fields + [pattern[..., None] for pattern in patterns]
    # Red, cyan and yellow, each with a pattern in one channel that is at neither end.
    colors = np.array([[1, 0, 0], [0, 1, 1], [1, 1, 0]], float)
    for turn, (color, pattern) in enumerate(zip(colors, patterns, strict=True)):
        field = np.broadcast_to(color, (height_px, width_px, 3)).copy()
        field[row >= height_px // 2, (turn + 1) % 3] = pattern[row >= height_px // 2]
        fields.append(field)
    return fields
