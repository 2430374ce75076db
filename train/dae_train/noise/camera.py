"""Noise as a camera leaves it in a finished picture: weak, correlated between neighbors, uneven, and smoother in color.

The image is taken back to the linear values of a sensor, gets shot and read noise on a Bayer mosaic, and is developed again:
demosaiced, scaled down, freed of noise as cameras do, sharpened, bent and encoded, compressed. All filters act on the noise
alone, so that the scene keeps its sharpness: the clean image is the target as it is.

Sources:
    Levels, white balance, brightness: Brooks et al.: Unprocessing images for learned raw denoising. CVPR 2019.
    The other ranges without a source of their own were chosen so that the noise's numbers come near those of photographs
    (`python -m dae_tools.noise_numbers`; docs/photographs.md has both).
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

from keras import ops, random

from .camera_steps import (
    bend,
    blurred,
    decode_srgb,
    doubled,
    encode_srgb,
    halved,
    left_by_denoiser,
    luma,
    resampled,
    size_of,
)
from .demosaic import bayer, developed_noise
from .jpeg import jpeg

Seed: TypeAlias = Any

SHOT_AT_ISO_100 = 5e-5
"""Variance of the shot noise of white, on the scale where white is 1: a sensor that holds 20,000 electrons at ISO 100."""
_READ_SLOPE, _READ_OFFSET, _READ_SPREAD = 2.18, 1.20, 0.26
"""log(read) = slope * log(shot) + offset + spread * N(0, 1), fitted by Brooks et al. to a phone camera."""
_RED_GAIN, _BLUE_GAIN = (1.9, 2.4), (1.5, 1.9)
_BRIGHTNESS, _BRIGHTNESS_SPREAD = 0.8, 0.1
_SATURATION = (0.0, 0.6)
"""A color matrix drives the channels apart by as much."""
_CONTRAST = (1.0, 1.5)
"""Slope of the tone curve in the middle: from sRGB alone to that of the smoothstep curve of Brooks et al."""
_RESIZED_SHARE, _LARGEST_FACTOR = 0.4, 4 / 3
"""How often a picture is scaled down, and by how much at most: cameras offer sizes of 3/4, and a larger factor costs time."""
_MOST_RESIZED_PX = 2**20
"""Larger images are developed at their own size: their resampling would take the memory."""
_CHROMA_BLUR_PX, _COARSE_CHROMA_SHARE = (1.0, 3.5), 0.9
"""Noise reduction blurs color by as much more than brightness, mostly at half the resolution."""
_UNEVEN_SHARE, _LEFT, _KNEE = 0.8, (0.1, 0.7), (0.004, 0.04)
"""How often noise reduction preserves edges; what it leaves in flat parts; the activity at which half of the rest is left."""
_SHARPENED_SHARE, _SHARPENING = 1 / 3, (0.1, 0.9)
_CODED_SHARE, _SUBSAMPLED_SHARE, _QUALITY = 0.85, 0.6, (72.0, 97.0)
"""JPEG: how often, how often with halved color, and its quality."""


def camera(images: Any, iso: Any, blur: Any, color: Any, seed: Seed) -> Any:
    """Add the noise of a camera at a sensitivity, and round to 8 bits as a file does.

    Args:
        images: (N, H, W, C) float32 in [0, 1]; H and W at least 6. A gray image gets the noise of brightness.
        iso: (N, 1, 1, 1).
        blur: (N, 1, 1, 1): how far the camera's noise reduction blurs brightness, as a standard deviation in pixels.
        color: (N, 1, 1, 1): standard deviation of the noise of color over that of brightness, before JPEG.
        seed: Where randomness comes from.

    Returns:
        (N, H, W, C) in [0, 1].
    """
    count, channels = ops.shape(images)[0], images.shape[-1]
    contrast = _uniform(count, _CONTRAST, seed)
    linear = decode_srgb(bend(ops.clip(images, 0, 1), 1 / contrast))
    shot = SHOT_AT_ISO_100 * iso / 100
    read = ops.exp(_READ_SLOPE * ops.log(shot) + _READ_OFFSET + _READ_SPREAD * _normal((count, 1, 1, 1), seed))
    noise = _developed(linear if channels == 3 else ops.repeat(linear, 3, axis=-1), shot, read, seed)
    noise = _reduced(noise, blur, color, channels, seed)
    share = ops.where(_coin(count, _UNEVEN_SHARE, seed), _uniform(count, _LEFT, seed), 1.0)
    noise = noise * left_by_denoiser(images, share, _log_uniform(count, _KNEE, seed))
    noise = _sharpened(noise, seed)
    noisy = bend(encode_srgb(ops.clip(linear + noise, 0, 1)), contrast)
    halve = _coin(count, _SUBSAMPLED_SHARE, seed)
    coded = jpeg(noisy, ops.round(_uniform(count, _QUALITY, seed)), halve)
    return ops.where(_coin(count, _CODED_SHARE, seed), coded, ops.round(noisy * 255) / 255)


def _developed(linear: Any, shot: Any, read: Any, seed: Seed) -> Any:
    """Return the noise of a developed raw image, (N, H, W, 3), linear; that of some from a larger image, scaled down."""
    count, size = ops.shape(linear)[0], linear.shape[1:3]
    factor = ops.where(_coin(count, _RESIZED_SHARE, seed), _uniform(count, (1.0, _LARGEST_FACTOR), seed), 1.0)
    resized = size[0] * size[1] <= _MOST_RESIZED_PX
    if resized:
        linear = resampled(linear, (math.ceil(_LARGEST_FACTOR * size[0]), math.ceil(_LARGEST_FACTOR * size[1])), 1 / factor)
    height, width = linear.shape[1:3]
    brightness = ops.clip(_BRIGHTNESS + _BRIGHTNESS_SPREAD * _normal((count, 1, 1, 1), seed), 0.5, 1)
    gains = ops.concatenate(
        [_uniform(count, _RED_GAIN, seed), ops.ones((count, 1, 1, 1)), _uniform(count, _BLUE_GAIN, seed)], axis=-1
    )
    gains = gains / brightness
    sites = bayer(count, height, width, seed)
    # balanced before demosaicing, as edges are looked for across colors
    scene = ops.sum(sites * linear, axis=-1, keepdims=True)
    gain = ops.sum(sites * gains, axis=-1, keepdims=True)
    mosaic = gain * _normal((count, height, width, 1), seed) * ops.sqrt(shot * scene / gain + read)
    noise = developed_noise(mosaic, scene, sites, _uniform(count, (0, 1), seed))
    noise = noise + _uniform(count, _SATURATION, seed) * (noise - ops.mean(noise, axis=-1, keepdims=True))
    return resampled(noise, size, factor) if resized else noise


def _reduced(noise: Any, blur: Any, color: Any, channels: int, seed: Seed) -> Any:
    """Return noise as a camera's noise reduction leaves it: blurred, that of color more, and mostly at half the resolution."""
    count, size = ops.shape(noise)[0], noise.shape[1:3]
    if channels == 1:
        return blurred(luma(noise), blur)
    fine = blurred(noise, blur)
    gray = luma(fine)
    half = halved(noise)
    half = blurred(half - luma(half), (blur + _uniform(count, _CHROMA_BLUR_PX, seed)) / 2)
    chroma = ops.where(_coin(count, _COARSE_CHROMA_SHARE, seed), doubled(half, size), fine - gray)
    return gray + color * size_of(gray) / size_of(chroma) * chroma


def _sharpened(noise: Any, seed: Seed) -> Any:
    """Return noise behind an unsharp mask of 1 pixel, for a third of the images."""
    count = ops.shape(noise)[0]
    amount = ops.where(_coin(count, _SHARPENED_SHARE, seed), _uniform(count, _SHARPENING, seed), 0.0)
    return noise + amount * (noise - blurred(noise, ops.ones((count, 1, 1, 1)), 3))


def _normal(shape: tuple[Any, ...], seed: Seed) -> Any:
    return random.normal(shape, seed=seed)


def _uniform(count: Any, bounds: tuple[float, float], seed: Seed) -> Any:
    return random.uniform((count, 1, 1, 1), *bounds, seed=seed)


def _log_uniform(count: Any, bounds: tuple[float, float], seed: Seed) -> Any:
    low, high = (math.log(bound) for bound in bounds)
    return ops.exp(random.uniform((count, 1, 1, 1), low, high, seed=seed))


def _coin(count: Any, chance: float, seed: Seed) -> Any:
    return random.uniform((count, 1, 1, 1), seed=seed) < chance
