"""Noise as a camera leaves it in a finished picture: weak, correlated between neighbors, stronger in color than in brightness.

The image is taken back to the linear values of a sensor, gets shot and read noise on a Bayer mosaic, and is developed again:
demosaiced, freed of noise as cameras do, sharpened, encoded. Demosaicing and the filters are linear, so that they act on the
noise alone, and the scene keeps its sharpness: the clean image is the target as it is.

Sources:
    Levels, white balance, brightness: Brooks et al.: Unprocessing images for learned raw denoising. CVPR 2019.
    Demosaicing: Malvar, He, Cutler: High-quality linear interpolation for demosaicing of Bayer-patterned color images. ICASSP
    2004; and bilinear.
    Encoding: IEC 61966-2-1 (sRGB).
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from keras import ops, random

from .jpeg import jpeg

Seed: TypeAlias = Any

SHOT_AT_ISO_100 = 3e-5
"""Variance of the shot noise of white, on the scale where white is 1: a sensor that holds 33,000 electrons at ISO 100."""
_READ_SLOPE, _READ_OFFSET, _READ_SPREAD = 2.18, 1.20, 0.26
"""log(read) = slope * log(shot) + offset + spread * N(0, 1), fitted by Brooks et al. to a phone camera."""
_RED_GAIN, _BLUE_GAIN = (1.9, 2.4), (1.5, 1.9)
_BRIGHTNESS, _BRIGHTNESS_SPREAD = 0.8, 0.1
_LUMA_BLUR_PX, _CHROMA_BLUR_PX, _COARSE_BLUR_PX = (0.5, 1.3), (0.0, 1.2), (0.3, 2.0)
"""Standard deviations of blurs that stand for noise reduction: of brightness, of color, of color at half the resolution."""
_CHROMA_SHARE = (0.4, 1.2)
_SATURATION = (0.0, 0.6)
"""A color matrix drives the channels apart by as much."""
_SHARPENING = (0.1, 0.9)
_QUALITY = (82.0, 98.0)
_LARGEST_BLUR_PX = 5
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)

_SAME = np.zeros((5, 5), np.float32)
_SAME[2, 2] = 1
_CROSS = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], np.float32) / 4
_ROW = np.array([[0, 0, 0], [1, 0, 1], [0, 0, 0]], np.float32) / 2
_DIAGONAL = np.array([[1, 0, 1], [0, 0, 0], [1, 0, 1]], np.float32) / 4
_BILINEAR = [np.pad(kernel, 1) for kernel in (_CROSS, _ROW, _ROW.T, _DIAGONAL)]
_MALVAR_GREEN = np.array([[0, 0, -1, 0, 0], [0, 0, 2, 0, 0], [-1, 2, 4, 2, -1], [0, 0, 2, 0, 0], [0, 0, -1, 0, 0]]) / 8
_MALVAR_ROW = np.array([[0, 0, 0.5, 0, 0], [0, -1, 0, -1, 0], [-1, 4, 5, 4, -1], [0, -1, 0, -1, 0], [0, 0, 0.5, 0, 0]]) / 8
_MALVAR_DIAGONAL = (
    np.array([[0, 0, -1.5, 0, 0], [0, 2, 0, 2, 0], [-1.5, 0, 6, 0, -1.5], [0, 2, 0, 2, 0], [0, 0, -1.5, 0, 0]]) / 8
)
_MALVAR = [_MALVAR_GREEN, _MALVAR_ROW, _MALVAR_ROW.T, _MALVAR_DIAGONAL]
_KERNELS = np.stack([_SAME, *_BILINEAR, *_MALVAR], axis=-1)[:, :, np.newaxis].astype(np.float32)
"""(5, 5, 1, 9): a value itself; then bilinear and by Malvar: green at red or blue, red or blue from its row, from its column,
and from the diagonals."""


def camera(images: Any, iso: Any, seed: Seed) -> Any:
    """Add the noise of a camera at a sensitivity, and round to 8 bits as a file does.

    Args:
        images: (N, H, W, C) float32 in [0, 1]; H and W at least 6. A gray image gets the noise of brightness.
        iso: (N, 1, 1, 1).
        seed: Where randomness comes from.

    Returns:
        (N, H, W, C) in [0, 1].
    """
    count, channels = ops.shape(images)[0], images.shape[-1]
    color = images if channels == 3 else ops.repeat(images, 3, axis=-1)
    linear = decode_srgb(color)
    noise = _developed(linear, iso, seed)
    noise = _reduced(noise, seed)
    if channels == 1:
        noise, linear = _luma(noise), linear[..., :1]
    noise = _sharpened(noise, seed)
    noisy = encode_srgb(ops.clip(linear + noise, 0, 1))
    coded = jpeg(noisy, ops.round(_uniform(count, _QUALITY, seed)))
    return ops.where(_coin(count, 0.6, seed), coded, ops.round(noisy * 255) / 255)


def decode_srgb(values: Any) -> Any:
    """Return linear values of encoded ones, both in [0, 1]; values outside are clipped."""
    values = ops.clip(values, 0, 1)
    return ops.where(values <= 0.04045, values / 12.92, ops.power((values + 0.055) / 1.055, 2.4))


def encode_srgb(values: Any) -> Any:
    """Return encoded values of linear ones, both in [0, 1]."""
    return ops.where(values <= 0.0031308, values * 12.92, 1.055 * ops.power(ops.maximum(values, 1e-6), 1 / 2.4) - 0.055)


def _developed(linear: Any, iso: Any, seed: Seed) -> Any:
    """Return the noise of a developed raw image, (N, H, W, 3), linear."""
    count, height, width = ops.shape(linear)[0], linear.shape[1], linear.shape[2]
    brightness = ops.clip(_BRIGHTNESS + _BRIGHTNESS_SPREAD * random.normal((count, 1, 1, 1), seed=seed), 0.5, 1)
    gains = ops.concatenate(
        [_uniform(count, _RED_GAIN, seed), ops.ones((count, 1, 1, 1)), _uniform(count, _BLUE_GAIN, seed)], axis=-1
    )
    gains = gains / brightness
    sites = _bayer(count, height, width, seed)
    raw = ops.sum(sites * linear / gains, axis=-1, keepdims=True)
    shot = SHOT_AT_ISO_100 * iso / 100
    spread = _READ_SPREAD * random.normal((count, 1, 1, 1), seed=seed)
    read = ops.exp(_READ_SLOPE * ops.log(shot) + _READ_OFFSET + spread)
    mosaic = random.normal((count, height, width, 1), seed=seed) * ops.sqrt(shot * raw + read)
    noise = gains * _demosaiced(mosaic, sites, _coin(count, 0.5, seed))
    return noise + _uniform(count, _SATURATION, seed) * (noise - ops.mean(noise, axis=-1, keepdims=True))


def _bayer(count: Any, height: Any, width: Any, seed: Seed) -> Any:
    """Return which color each site of a mosaic sees, (N, H, W, 3) of 0 and 1, in one of the four patterns for each image."""
    rows, columns = ops.arange(height)[None, :, None, None], ops.arange(width)[None, None, :, None]
    down, right = (ops.cast(_coin(count, 0.5, seed), "int32") for _ in range(2))
    odd_row, odd_column = (rows + down) % 2 == 1, (columns + right) % 2 == 1
    red, blue = ~odd_row & ~odd_column, odd_row & odd_column
    return ops.cast(ops.concatenate([red, ~(red | blue), blue], axis=-1), "float32")


def _demosaiced(mosaic: Any, sites: Any, bilinear: Any) -> Any:
    """Return all three colors at every site, (N, H, W, 3).

    Args:
        mosaic: (N, H, W, 1).
        sites: As from `_bayer`.
        bilinear: (N, 1, 1, 1): whether to interpolate bilinearly, and as Malvar et al. otherwise.
    """
    padded = ops.pad(mosaic, [(0, 0), (2, 2), (2, 2), (0, 0)], mode="reflect")  # reflection keeps the pattern
    found = ops.conv(padded, _KERNELS, padding="valid")
    own = found[..., :1]
    cross, row, column, diagonal = ops.split(ops.where(bilinear, found[..., 1:5], found[..., 5:]), 4, axis=-1)
    red, green, blue = ops.split(sites, 3, axis=-1)
    red_rows, blue_rows = (ops.max(color, axis=2, keepdims=True) for color in (red, blue))

    def chroma(here: Any, rows: Any, other: Any) -> Any:
        return here * own + other * diagonal + green * (rows * row + (1 - rows) * column)

    return ops.concatenate(
        [chroma(red, red_rows, blue), green * own + (1 - green) * cross, chroma(blue, blue_rows, red)], axis=-1
    )


def _reduced(noise: Any, seed: Seed) -> Any:
    """Return noise as a camera's noise reduction leaves it: blurred, that of color more, and mostly at half the resolution."""
    count, size = ops.shape(noise)[0], noise.shape[1:3]
    blur = ops.where(_coin(count, 0.85, seed), _uniform(count, _LUMA_BLUR_PX, seed), 0.0)
    luma = _luma(noise)
    half = _blurred(_halved(noise - luma), _uniform(count, _COARSE_BLUR_PX, seed))
    fine = _blurred(noise - luma, _uniform(count, _CHROMA_BLUR_PX, seed))
    chroma = ops.where(_coin(count, 0.7, seed), ops.image.resize(half, size, interpolation="bilinear"), fine)
    return _blurred(luma, blur) + _uniform(count, _CHROMA_SHARE, seed) * chroma


def _halved(values: Any) -> Any:
    """Return the means of 2 x 2 pixels; the last row or column counts twice where there is an odd number."""
    even = ops.pad(values, [(0, 0), (0, values.shape[1] % 2), (0, values.shape[2] % 2), (0, 0)], mode="symmetric")
    return (even[:, ::2, ::2] + even[:, 1::2, ::2] + even[:, ::2, 1::2] + even[:, 1::2, 1::2]) / 4


def _sharpened(noise: Any, seed: Seed) -> Any:
    """Return noise behind an unsharp mask of 1 pixel, for a third of the images."""
    count = ops.shape(noise)[0]
    amount = ops.where(_coin(count, 1 / 3, seed), _uniform(count, _SHARPENING, seed), 0.0)
    return noise + amount * (noise - _blurred(noise, ops.ones((count, 1, 1, 1))))


def _blurred(values: Any, sigma: Any) -> Any:
    """Return values blurred by a Gaussian of a standard deviation in pixels for each image; at 0 as they are."""
    offsets = np.arange(-_LARGEST_BLUR_PX, _LARGEST_BLUR_PX + 1, dtype=np.float32)
    weights = [ops.exp(-0.5 * (float(offset) / ops.maximum(sigma, 0.05)) ** 2) for offset in offsets]
    total = sum(weights[1:], weights[0])
    for axis in (1, 2):
        length = values.shape[axis]
        pad = [(0, 0)] * 4
        pad[axis] = (_LARGEST_BLUR_PX, _LARGEST_BLUR_PX)
        padded = ops.pad(values, pad, mode="symmetric")
        shifted = [padded[:, i : i + length] if axis == 1 else padded[:, :, i : i + length] for i in range(len(offsets))]
        values = sum(weight / total * part for weight, part in zip(weights, shifted, strict=True))
    return values


def _luma(values: Any) -> Any:
    return ops.sum(values * _LUMA, axis=-1, keepdims=True)


def _uniform(count: Any, bounds: tuple[float, float], seed: Seed) -> Any:
    return random.uniform((count, 1, 1, 1), *bounds, seed=seed)


def _coin(count: Any, chance: float, seed: Seed) -> Any:
    return random.uniform((count, 1, 1, 1), seed=seed) < chance
