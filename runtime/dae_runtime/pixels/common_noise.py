"""Noise that is equal in all channels of a colored image, as film grain and tinted scans have it."""

from __future__ import annotations

import numpy as np

from .arrays import Array, FloatArray, convert, strips

STRIDE_PX = 1
BLOCK_PX = 8
WINDOW_PX = 72
MOST_WINDOWS = 4
"""On each side; they are spread evenly."""
FLAT_QUANTILE = 0.05
LEAST_LUMA = 3 / 255
"""Noise of brightness below this is not worth a second network."""
MOST_COLOR_SHARE = 0.5
"""Noise of the color differences over noise of brightness: 1 for independent noise, 0 for equal noise."""


def has_common_noise(image: Array) -> bool:
    """Tell whether the noise of an image is much the same in its channels, which a network for colors takes for structure.

    Looks at the flattest blocks of at most 16 windows, since texture is alike in all channels, too.

    Args:
        image: (H, W, 3 or more), color first; uint8, uint16 or float32 of about 0..1.
    """
    found = [_noise(convert(image[rows, columns, :3], np.float32)) for rows, columns in _windows(*image.shape[:2])]
    luma, color = (np.concatenate(parts) for parts in zip(*found, strict=True)) if found else (np.empty(0), np.empty(0))
    if luma.size == 0:
        return False
    flat_luma, flat_color = (float(np.sqrt(np.quantile(part, FLAT_QUANTILE))) for part in (luma, color))
    return flat_luma > LEAST_LUMA * 3**0.5 and flat_color < MOST_COLOR_SHARE * flat_luma


def luma_plane(image: Array) -> Array:
    """Return the mean of three channels, (N, H, W, 1) of (N, H, W, 3 or more), in the dtype of the image."""
    plane = np.empty((*image.shape[:3], 1), image.dtype)
    for rows in strips(image.shape[1]):
        plane[:, rows] = _luma(image[:, rows])
    return plane


def _luma(image: Array) -> Array:
    red, green, blue = (convert(image[..., channel : channel + 1], np.float32) for channel in range(3))
    return convert((red + green + blue) * np.float32(1 / 3), image.dtype)


def add_luma_change(image: Array, after: Array) -> None:
    """Add what has changed since `luma_plane` to the colors of (N, H, W, C), in place, clipped as integers are; alpha stays.

    The plane of before is computed again, strip by strip: it need not be kept.
    """
    for rows in strips(image.shape[1]):
        change = convert(after[:, rows], np.float32) - convert(_luma(image[:, rows]), np.float32)
        for channel in range(3):
            plane = image[:, rows, :, channel : channel + 1]
            plane[:] = convert(convert(plane, np.float32) + change, image.dtype)


def _windows(height: int, width: int) -> list[tuple[slice, slice]]:
    """Return windows spread over an image; none for one too small to tell."""
    if min(height, width) < BLOCK_PX + STRIDE_PX:
        return []

    def starts(length: int) -> list[int]:
        count = max(1, min(MOST_WINDOWS, length // WINDOW_PX))
        return [int(place) for place in np.linspace(0, max(0, length - WINDOW_PX), count)]

    return [(slice(top, top + WINDOW_PX), slice(left, left + WINDOW_PX)) for top in starts(height) for left in starts(width)]


def _noise(colors: FloatArray) -> tuple[Array, Array]:
    """Return the mean square of the noise in each block: of brightness, and of the color differences."""
    red, green, blue = (colors[..., channel] for channel in range(3))
    planes = ((red + green + blue) * np.float32(3**-0.5), (red - blue) * np.float32(2**-0.5))
    luma, first = (_block_squares(plane) for plane in planes)
    second = _block_squares((red - 2 * green + blue) * np.float32(6**-0.5))
    return luma, (first + second) / 2


def _block_squares(plane: FloatArray) -> FloatArray:
    rows = plane[:-STRIDE_PX] - plane[STRIDE_PX:]
    detail = (rows[:, :-STRIDE_PX] - rows[:, STRIDE_PX:]) * np.float32(0.5)
    down, across = (length // BLOCK_PX for length in detail.shape)
    blocks = detail[: down * BLOCK_PX, : across * BLOCK_PX].reshape(down, BLOCK_PX, across, BLOCK_PX)
    squares: FloatArray = np.square(blocks).mean(axis=(1, 3)).ravel()
    return squares
