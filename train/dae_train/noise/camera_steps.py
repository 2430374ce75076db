"""What happens in a camera between the sensor and the file, for batches (N, H, W, C) of float32.

Sources:
    Encoding: IEC 61966-2-1 (sRGB).
    Tone curve: Schlick: Fast alternatives to Perlin's bias and gain functions. Graphics Gems IV, 1994. Its inverse is of the
    same family, and its slope is never 0: the smoothstep curve of Brooks et al. (Unprocessing images for learned raw
    denoising, CVPR 2019) has no finite inverse at black and white.
    What noise reduction leaves: Lee: Digital image enhancement and noise filtering by use of local statistics. IEEE
    Transactions on Pattern Analysis and Machine Intelligence 2(2), 1980: a share that grows with the activity around a pixel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_ACTIVITY_PX = (1.5, 2.5)
"""Blurs behind the activity around a pixel: what is finer than the first counts, its size is averaged over the second."""


def decode_srgb(values: Any) -> Any:
    """Return linear values of encoded ones, both in [0, 1]; values outside are clipped."""
    values = ops.clip(values, 0, 1)
    return ops.where(values <= 0.04045, values / 12.92, ops.power((values + 0.055) / 1.055, 2.4))


def encode_srgb(values: Any) -> Any:
    """Return encoded values of linear ones, both in [0, 1]."""
    return ops.where(values <= 0.0031308, values * 12.92, 1.055 * ops.power(ops.maximum(values, 1e-6), 1 / 2.4) - 0.055)


def bend(values: Any, slope: Any) -> Any:
    """Return values in [0, 1] behind a curve of contrast, which keeps 0, 0.5 and 1.

    Args:
        values: (N, H, W, C).
        slope: (N, 1, 1, 1), above 0: slope in the middle, and 1 / slope at the ends. 1 / slope gives the inverse.
    """
    from_end = ops.minimum(values, 1 - values)
    bent = from_end / ((slope - 1) * (1 - 2 * from_end) + 1)
    return ops.where(values < 0.5, bent, 1 - bent)


def resampled(values: Any, size: tuple[int, int], step: Any) -> Any:
    """Return values at another size: interpolated linearly where it is larger, and means, as wide as a step, where smaller.

    Args:
        values: (N, H, W, C).
        size: Height and width of the result.
        step: (N, 1, 1, 1): pixels of the values for each pixel of the result; what lies beyond the edge repeats it.
    """
    for axis, equation in ((1, "njh,nhwc->njwc"), (2, "nkw,njwc->njkc")):
        length = values.shape[axis]
        centers = (np.arange(size[axis - 1], dtype=np.float32)[:, None] + 0.5) * step[:, :, :, 0] - 0.5
        distances = ops.abs(np.arange(length, dtype=np.float32) - ops.clip(centers, 0, length - 1))
        weights = ops.maximum(1 - distances / ops.maximum(step[:, :, :, 0], 1), 0)
        values = ops.einsum(equation, weights / ops.sum(weights, axis=-1, keepdims=True), values)
    return values


def blurred(values: Any, sigma: Any, reach: int = 5) -> Any:
    """Return values blurred by a Gaussian of a standard deviation in pixels for each image; at 0 as they are."""
    weights = [ops.exp(-0.5 * (offset / ops.maximum(sigma, 0.05)) ** 2) for offset in range(reach + 1)]
    total = weights[0] + 2 * sum(weights[2:], weights[1])
    weights = [weight / total for weight in weights]
    for axis in (1, 2):
        length = values.shape[axis]
        padded = ops.pad(values, [(0, 0) if each != axis else (reach, reach) for each in range(4)], mode="symmetric")
        shifted = [padded[:, i : i + length] if axis == 1 else padded[:, :, i : i + length] for i in range(2 * reach + 1)]
        pairs = [shifted[reach - offset] + shifted[reach + offset] for offset in range(1, reach + 1)]
        values = sum((weight * pair for weight, pair in zip(weights[1:], pairs, strict=True)), weights[0] * values)
    return values


def halved(values: Any) -> Any:
    """Return the means of 2 x 2 pixels; the last row or column counts twice where there is an odd number."""
    even = ops.pad(values, [(0, 0), (0, values.shape[1] % 2), (0, values.shape[2] % 2), (0, 0)], mode="symmetric")
    return (even[:, ::2, ::2] + even[:, 1::2, ::2] + even[:, ::2, 1::2] + even[:, 1::2, 1::2]) / 4


def doubled(values: Any, size: tuple[int, int]) -> Any:
    """Return values at twice their height and width, interpolated linearly, and cut to a size."""
    height, width = values.shape[1:3]
    return ops.image.resize(values, (2 * height, 2 * width), interpolation="bilinear")[:, : size[0], : size[1]]


def left_by_denoiser(encoded: Any, share: Any, knee: Any) -> Any:
    """Return how much of the noise an edge-preserving denoiser leaves, (N, H, W, 1): all at edges, a share in flat parts.

    Args:
        encoded: (N, H, W, C), the clean picture.
        share: (N, 1, 1, 1) in 0..1: left where nothing is going on.
        knee: (N, 1, 1, 1): the activity at which half of the rest is left.
    """
    gray = luma(encoded) if encoded.shape[-1] == 3 else encoded
    size = gray.shape[1:3]
    detail, around = (ops.full((1, 1, 1, 1), width / 2) for width in _ACTIVITY_PX)
    activity = halved(ops.abs(gray - doubled(blurred(halved(gray), detail, 3), size)))
    activity = blurred(activity, around, 3)
    return doubled(share + (1 - share) * activity / (activity + knee), size)


def luma(values: Any) -> Any:
    """Return brightness, (N, H, W, 1), of (N, H, W, 3)."""
    return ops.sum(values * LUMA, axis=-1, keepdims=True)


def size_of(values: Any) -> Any:
    """Return the root mean square of each image, (N, 1, 1, 1), never 0."""
    return ops.sqrt(ops.mean(ops.square(values), axis=(1, 2, 3), keepdims=True) + 1e-14)
