"""Noise that is equal in all channels of a colored image, as film grain and tinted scans have it."""

from __future__ import annotations

import itertools

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
    windows = _windows(image[..., :3])
    if windows.size == 0:
        return False
    red, green, blue = convert(windows, np.float32)
    luma = _flat_noise(_block_squares((red + green + blue) * np.float32(3**-0.5)))
    if luma <= LEAST_LUMA * 3**0.5:
        return False
    first = _block_squares((red - blue) * np.float32(2**-0.5))
    second = _block_squares((red - 2 * green + blue) * np.float32(6**-0.5))
    return _flat_noise((first + second) * np.float32(0.5)) < MOST_COLOR_SHARE * luma


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


def _windows(colors: Array) -> Array:
    """Return windows spread over an image, (3, N, H, W), whole blocks and one pixel more; none of one too small to tell."""
    height, width = ((min(length, WINDOW_PX) - STRIDE_PX) // BLOCK_PX * BLOCK_PX + STRIDE_PX for length in colors.shape[:2])
    if min(height, width) <= STRIDE_PX:
        return np.empty(0, colors.dtype)
    tops, lefts = map(_starts, colors.shape[:2])
    windows = np.empty((3, len(tops) * len(lefts), height, width), colors.dtype)
    for number, (top, left) in enumerate(itertools.product(tops, lefts)):
        windows[:, number] = colors[top : top + height, left : left + width].transpose(2, 0, 1)
    return windows


def _starts(length: int) -> list[int]:
    """Return where windows begin along one axis."""
    last = max(1, min(MOST_WINDOWS, length // WINDOW_PX)) - 1
    return [0] if last == 0 else [(length - WINDOW_PX) * number // last for number in range(last + 1)]


def _block_squares(planes: FloatArray) -> FloatArray:
    """Return the mean square of the noise in each block of (N, H, W)."""
    rows = planes[:, :-STRIDE_PX] - planes[:, STRIDE_PX:]
    squares = np.square((rows[..., :-STRIDE_PX] - rows[..., STRIDE_PX:]) * np.float32(0.5))
    down, across = (length // BLOCK_PX for length in squares.shape[1:])
    if across == 1:  # numpy adds the pixels of a single column of blocks in another order
        return np.asarray(squares.reshape(-1, BLOCK_PX**2).mean(axis=1))
    for _ in range(BLOCK_PX.bit_length() - 1):  # three times as fast as `mean` over both axes, in its order
        squares = squares[..., ::2] + squares[..., 1::2]
    means: FloatArray = squares.reshape(-1, down, BLOCK_PX, across).sum(axis=2) / np.float32(BLOCK_PX**2)
    return means.ravel()


def _flat_noise(squares: FloatArray) -> float:
    """Return the noise of flat blocks, the root of `numpy.quantile` of their squares, which takes longer for few."""
    ordered, place = np.sort(squares), FLAT_QUANTILE * (len(squares) - 1)
    low, high = ordered[int(place)], ordered[min(int(place) + 1, len(ordered) - 1)]
    share = place % 1
    return float(np.sqrt(low + (high - low) * share if share < 0.5 else high - (high - low) * (1 - share)))
