"""Fine structure that a model took for noise, put back: what stands out of the noise in what was taken away.

The brightness of the residual is split into three bands of a stationary wavelet transform. In each the noise is measured, and
only what is clearly stronger returns. So texture and small print come back and even noise does not, whatever its correlation.

Source: J.-L. Starck, F. Murtagh, Astronomical image and signal processing, IEEE Signal Processing Magazine 18(2), 2001 (the
transform "a trous" with the B3 spline); H.-Y. Gao, Wavelet shrinkage denoising using the non-negative garrote, Journal of
Computational and Graphical Statistics 7(4), 1998. darktable's neural restore answers the same wish with fixed thresholds.
"""

from __future__ import annotations

import numpy as np

from .arrays import Array, FloatArray, convert, luma_of, strips
from .sampling import sample_windows

BANDS = 3
THRESHOLD = 3.0
"""What returns is stronger than so many standard deviations of the band's noise."""
REACH_PX = 2 * (2**BANDS - 1)
"""How far a pixel of a band sees."""
LEAST_THRESHOLD = 1 / 255
"""Below this is rounding."""
_SPLINE = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
_QUARTILE_TO_SIGMA = 0.31863936396437514
"""The lower quartile of the absolute value of a standard normal variable: texture moves it less than the median."""


def put_back(noisy: Array, clean: Array, amount: float) -> None:
    """Add to a denoised image the fine structure of what was taken away; its memory does not grow with the image's height.

    Args:
        noisy: (H, W, 1 or 3), uint8, uint16 or float32; read only.
        clean: What became of it, likewise; changed in place.
        amount: Share of what stands out of the noise, 0 to 1.
    """
    height, width = noisy.shape[:2]
    thresholds = _thresholds(noisy, clean)
    above = np.empty((0, width), np.float32)
    for rows in strips(height):
        first, last = max(0, rows.start - REACH_PX), min(height, rows.stop + REACH_PX)
        # Rows below this strip are still as the model left them; those above have been kept.
        residual = _residual(noisy[first:last], clean[first:last])
        residual[: rows.start - first] = above[len(above) - (rows.start - first) :]
        above = residual[: rows.stop - first].copy()
        before, after = REACH_PX - (rows.start - first), REACH_PX - (last - rows.stop)
        padded = np.pad(residual, ((before, after), (REACH_PX, REACH_PX)), mode="symmetric")
        change = np.zeros((rows.stop - rows.start, width), np.float32)
        for band, threshold in zip(_bands(padded), thresholds, strict=True):
            change += _standing_out(band, threshold)
        _add(noisy[rows], clean[rows], change * np.float32(amount))


def _residual(noisy: Array, clean: Array) -> FloatArray:
    return luma_of(convert(noisy, np.float32) - convert(clean, np.float32))[..., 0]


def _thresholds(noisy: Array, clean: Array) -> list[float]:
    """Return for each band what its coefficients must exceed."""
    sizes: list[list[FloatArray]] = [[] for _ in range(BANDS)]
    for window in sample_windows(*noisy.shape[:2]):
        padded = np.pad(_residual(noisy[window], clean[window]), REACH_PX, mode="symmetric")
        for found, band in zip(sizes, _bands(padded), strict=True):
            found.append(np.abs(band).ravel())
    return [max(THRESHOLD * _sigma(np.concatenate(found)), LEAST_THRESHOLD) for found in sizes]


def _sigma(sizes: FloatArray) -> float:
    changed = sizes[sizes > LEAST_THRESHOLD / 100]  # where the model left the image alone there is nothing to measure
    return float(np.quantile(changed, 0.25)) / _QUARTILE_TO_SIGMA if changed.size else 0.0


def _bands(padded: FloatArray) -> list[FloatArray]:
    """Return the bands of a plane that is `REACH_PX` larger on each side, the finest first."""
    bands, current, left = [], padded, REACH_PX
    for step in (2**number for number in range(BANDS)):
        left -= 2 * step
        smooth = _smooth(_smooth(current, step, 0), step, 1)
        size = [length - 2 * left for length in smooth.shape]
        inner = smooth[left : left + size[0], left : left + size[1]]
        begin = left + 2 * step
        bands.append(current[begin : begin + size[0], begin : begin + size[1]] - inner)
        current = smooth
    return bands


def _smooth(plane: FloatArray, step: int, axis: int) -> FloatArray:
    """Filter along one axis with the spline, its taps `step` apart; 4 * step shorter."""
    length = plane.shape[axis] - 4 * step
    result = np.zeros([length if number == axis else size for number, size in enumerate(plane.shape)], np.float32)
    for tap, weight in enumerate(_SPLINE):
        part = slice(tap * step, tap * step + length)
        result += (plane[part] if axis == 0 else plane[:, part]) * np.float32(weight)
    return result


def _standing_out(band: FloatArray, threshold: float) -> FloatArray:
    """Return x - threshold**2 / x where |x| is above the threshold, else 0."""
    out = np.zeros_like(band)
    np.divide(np.float32(threshold**2), band, out=out, where=np.abs(band) > threshold)
    np.subtract(band, out, out=out, where=out != 0)
    return out


def _add(noisy: Array, clean: Array, change: FloatArray) -> None:
    total = convert(clean, np.float32) + change[..., None]
    if clean.dtype == np.float32:  # noise may leave the value range, a result goes no further than it
        original = convert(noisy, np.float32)
        np.clip(total, np.minimum(original, 0), np.maximum(original, 1), out=total)
    clean[:] = convert(total, clean.dtype)
