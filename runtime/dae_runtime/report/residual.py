"""The structure of the residual, the difference between noisy and denoised image.

A good residual is pure noise: uncorrelated with the image and between neighboring pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..pixels.arrays import Array

WEAK = 0.1
"""Correlations below this arise from chance, clipping and rounding."""
STRONG = 0.3
_BLOCK_PX = 8
_LEAST = 0.5 / 255
"""Added to what is taken the logarithm of: weaker differences are of rounding."""


@dataclass(frozen=True)
class Residual:
    """Correlations of a residual, from -1 to 1; 0 is best."""

    with_image: float
    """With the denoised image: high if detail or contrast was removed, or brightness shifted."""
    horizontal: float
    """Between neighbors in a row (autocorrelation at lag 1): high if the noise is not white, or structure was removed."""
    vertical: float
    """Between neighbors in a column."""
    with_detail: float = 0.0
    """Between its strength and the detail of the denoised image, block by block, brightness aside: above 0 where detail went,
    below 0 where noise did, of which a denoiser leaves more in detail."""
    rms: float = 1.0
    """Its root mean square, where white is 1."""

    @property
    def verdict(self) -> str:
        """Summary in a few words."""
        found, neighbors = abs(self.with_image), max(abs(self.horizontal), abs(self.vertical))
        if found >= WEAK:
            return "a little structure" if found < STRONG else "carries structure"
        return "white, as noise is" if neighbors < WEAK else "smooth, as the noise of cameras is"


def residual_structure(noisy: Array, denoised: Array) -> Residual:
    """Measure the structure of `noisy - denoised`.

    Args:
        noisy: (H, W, C) float32 in [0, 1].
        denoised: Likewise, the same shape.
    """
    residual = (noisy - denoised).astype(np.float64)
    # Clipped noise correlates with the image whatever the denoiser does.
    free = (noisy > 0) & (noisy < 1)
    return Residual(
        _correlation(residual[free], denoised[free]),
        _correlation(residual[:, :-1], residual[:, 1:]),
        _correlation(residual[:-1], residual[1:]),
        _with_detail(residual.mean(-1), denoised.mean(-1, dtype=np.float64)),
        float(np.sqrt(np.mean(residual**2))),
    )


def residual_picture(noisy: Array, denoised: Array) -> tuple[Array, float]:
    """Return `noisy - denoised` around middle gray, amplified so that three standard deviations reach black and white.

    Args:
        noisy: (H, W, C) float32 in [0, 1].
        denoised: Likewise, the same shape.

    Returns:
        (H, W, C) float32 in [0, 1], and the factor of the amplification.
    """
    residual = noisy - denoised
    spread = float(residual.std())
    gain = 0.5 / (3 * spread) if spread > 0 else 1.0
    picture: Array = np.clip(np.float32(0.5) + residual * np.float32(gain), 0, 1)
    return picture, gain


def _with_detail(residual: Array, image: Array) -> float:
    """Correlate the logarithms of both in blocks, without what brightness explains of either: shot noise follows it."""
    if min(image.shape) < 4 * _BLOCK_PX:
        return 0.0
    steps = np.abs(np.diff(image, axis=0, append=image[-1:])) + np.abs(np.diff(image, axis=1, append=image[:, -1:]))
    strength, detail = _blocks(residual).std((1, 3)).ravel(), _blocks(steps).mean((1, 3)).ravel()
    light = _blocks(image).mean((1, 3)).ravel()
    by_light = np.stack([np.ones_like(light), light, light**2], 1)
    columns = np.log(np.stack([strength, detail], 1) + _LEAST)
    rest = columns - by_light @ np.linalg.lstsq(by_light, columns, rcond=None)[0]
    return _correlation(rest[:, 0], rest[:, 1])


def _blocks(image: Array) -> Array:
    rows, columns = (length // _BLOCK_PX for length in image.shape)
    cut: Array = image[: rows * _BLOCK_PX, : columns * _BLOCK_PX].reshape(rows, _BLOCK_PX, columns, _BLOCK_PX)
    return cut


def _correlation(first: Array, second: Array) -> float:
    if first.size < 2:
        return 0.0
    x, y = first - first.mean(), second - second.mean()
    scale = float(np.sqrt(np.sum(x * x, dtype=np.float64) * np.sum(y * y, dtype=np.float64)))
    return float(np.sum(x * y, dtype=np.float64)) / scale if scale > 0 else 0.0
