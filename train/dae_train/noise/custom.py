"""Noise functions of the calling program, on numpy arrays."""

from __future__ import annotations

import numpy as np

from ..data.image_set import FloatArray
from ..errors import ConfigError
from ..settings.noise import CustomNoise


def add_custom(noise: CustomNoise, images: FloatArray, clip: bool, seed: tuple[int, ...]) -> FloatArray:
    """Return a noisy batch.

    Args:
        noise: The noise function; receives a copy.
        images: float32 (N, H, W, C) in [0, 1].
        clip: Whether the result is clipped to [0, 1].
        seed: Numbers from which the seed of the function is derived, 0 to 2^31 - 1.

    Returns:
        float32, of the same shape.

    Raises:
        ConfigError: The function returned an invalid array.
    """
    drawn = np.random.default_rng(seed).integers(2**31)
    noisy = np.asarray(noise(images.copy(), int(drawn)))
    if noisy.shape != images.shape or noisy.dtype.kind not in "fiub":
        raise ConfigError(
            f"the custom noise must return an array of numbers of the shape of its input, {images.shape}; "
            f"received {noisy.dtype} {noisy.shape}."
        )
    noisy = noisy.astype(np.float32)
    if not np.isfinite(noisy).all():
        raise ConfigError("the custom noise returned NaN or infinity. Return finite numbers only, about 0 to 1.")
    return noisy.clip(0, 1) if clip else noisy
