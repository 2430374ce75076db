"""Noise functions on batches, on the device; `dae_runtime.contract.parse_noise` reads their specification.

Every function takes images (N, H, W, C) in [0, 1] of float32 with known H, W and C, one amount per image (N, 1, 1, 1), and a
seed generator, and returns noisy images of the same shape, not clipped.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
from keras import ops, random

from dae_runtime.contract import NoiseAmount, NoiseRecipe

from ..data.image_set import FloatArray, Images, Pixels, to_unit
from ..settings.noise import CustomNoise, NoiseSettings
from .camera import camera
from .custom import add_custom
from .jpeg import jpeg

Seed: TypeAlias = Any
"""A `keras.random.SeedGenerator`; Keras has no type information."""

_SMALL_RATE = 10.0
_INVERSION_STEPS = 36  # P(Poisson(10) > 36) is 2e-11, below the resolution of a float32 uniform number
_CHUNK_PX = 2**20


def gaussian(images: Any, sigma: Any, seed: Seed) -> Any:
    """Add normal noise of standard deviation `sigma`."""
    return images + sigma * random.normal(ops.shape(images), seed=seed)


def poisson(images: Any, peak: Any, seed: Seed) -> Any:
    """Photon noise: a pixel of value v becomes Poisson(v * peak) / peak. Values below 0 count as 0."""
    return sample_poisson(ops.maximum(images, 0) * peak, seed) / peak


def poisson_gaussian(images: Any, gain: Any, sigma: Any, seed: Seed) -> Any:
    """Sensor noise of variance `gain * v + sigma^2` at value v.

    Source:
        Foi, Trimeche, Katkovnik, Egiazarian: Practical Poissonian-Gaussian noise modeling and fitting for
        single-image raw-data. IEEE Transactions on Image Processing 17(10), 2008.
    """
    return gaussian(poisson(images, 1 / gain, seed), sigma, seed)


def salt_pepper(images: Any, probability: Any, seed: Seed) -> Any:
    """Replace each value with this probability, by 0 or 1 with equal probability."""
    u = random.uniform(ops.shape(images), seed=seed)
    return ops.where(u < probability / 2, 0.0, ops.where(u < probability, 1.0, images))


def speckle(images: Any, sigma: Any, seed: Seed) -> Any:
    """Multiply by 1 + normal noise of standard deviation `sigma`."""
    return images * (1 + sigma * random.normal(ops.shape(images), seed=seed))


def compress(images: Any, quality: Any, seed: Seed) -> Any:
    """Compress as JPEG; not random."""
    del seed
    return jpeg(images, quality)


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "gaussian": gaussian,
    "poisson": poisson,
    "poisson-gaussian": poisson_gaussian,
    "salt-pepper": salt_pepper,
    "speckle": speckle,
    "jpeg": compress,
    "camera": camera,
}
"""The functions by the names of `dae_runtime.contract.NOISE_KINDS`."""


def sample_poisson(rates: Any, seed: Seed) -> Any:
    """Sample Poisson numbers.

    Up to a rate of 10 by exact inversion of the distribution function; above by rounding the normal quantile with the
    Cornish-Fisher correction for skewness, with mean, variance and skewness within 1 %.

    Args:
        rates: At least 0, any shape.
        seed: Seed generator.

    Returns:
        Whole numbers as float32, of the shape of `rates`.

    Source:
        Devroye: Non-uniform random variate generation, 1986, III.2 and X.3. Cornish, Fisher: Moments and cumulants in the
        specification of distributions, 1938.
    """
    u = random.uniform(ops.shape(rates), seed=seed)
    z = random.normal(ops.shape(rates), seed=seed)
    large = ops.maximum(ops.round(rates + ops.sqrt(rates) * z + (z * z - 1) / 6), 0)
    return ops.where(rates < _SMALL_RATE, _invert_poisson(ops.minimum(rates, _SMALL_RATE), u), large)


def _invert_poisson(rates: Any, u: Any) -> Any:
    """Return the number of k with P(X <= k) < u."""

    def step(k: Any, state: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
        probability, cumulative, count = state
        count = count + ops.cast(u > cumulative, "float32")
        probability = probability * rates / ops.cast(k + 1, "float32")
        return probability, cumulative + probability, count

    start = ops.exp(-rates)
    return ops.fori_loop(0, _INVERSION_STEPS, step, (start, start, ops.zeros_like(rates)))[2]


def apply_noise(images: Any, recipes: Sequence[NoiseRecipe], clip: bool, seed: Seed) -> Any:
    """Return a noisy batch.

    Args:
        images: (N, H, W, C) float32 in [0, 1].
        recipes: Each makes the noise of an equal share of the batch: the first that of the first images. Ranges are sampled
            uniformly for each image.
        clip: Whether the final result is clipped to [0, 1].
        seed: Seed generator.

    Returns:
        A new batch of the same shape.
    """
    parts = [apply_recipe(part, recipe, clip, seed)[0] for recipe, part in share_out(recipes, images)]
    return parts[0] if len(parts) == 1 else ops.concatenate(parts)


def share_out(recipes: Sequence[NoiseRecipe], *batches: Any) -> Iterator[tuple[Any, ...]]:
    """Yield each recipe with its share of every batch, of which all have as many images; shares differ by one at most."""
    count = ops.shape(batches[0])[0]
    for number, recipe in enumerate(recipes):
        share = slice(count * number // len(recipes), count * (number + 1) // len(recipes))
        yield recipe, *(batch if len(recipes) == 1 else batch[share] for batch in batches)


def apply_recipe(images: Any, recipe: NoiseRecipe, clip: bool, seed: Seed) -> tuple[Any, list[list[Any]]]:
    """Return a noisy batch as `apply_noise`, and the amounts of each step, (N, 1, 1, 1) each."""
    drawn = []
    for step in recipe:
        drawn.append([_draw(amount, ops.shape(images)[0], seed) for amount in step.amounts])
        images = FUNCTIONS[step.kind](images, *drawn[-1], seed)
    return ops.clip(images, 0, 1) if clip else images, drawn


def _draw(amount: NoiseAmount, count: Any, seed: Seed) -> Any:
    shape = (count, 1, 1, 1)
    if amount.fixed:
        return ops.full(shape, amount.low, dtype="float32")
    return random.uniform(shape, amount.low, amount.high, seed=seed)


def draw_noisy(images: Images, noise: NoiseSettings, seed: int, custom: CustomNoise | None = None) -> Images:
    """Return images with fixed noise.

    Args:
        images: Arrays (H, W, C), or one array (N, H, W, C).
        noise: Noise settings, all filled in.
        seed: Random seed.
        custom: Noise function of the program, if any.

    Returns:
        New float32 arrays of the same shapes; one array for one array.
    """
    generator = random.SeedGenerator(seed)

    def noisy(batch: Pixels, number: int, recipes: Sequence[NoiseRecipe] = noise.recipes) -> FloatArray:
        unit = to_unit(batch)
        if custom is not None:
            return add_custom(custom, unit, noise.clip, (seed, number))
        drawn = apply_noise(ops.convert_to_tensor(unit), recipes, noise.clip, generator)
        return np.asarray(ops.convert_to_numpy(drawn))

    if not isinstance(images, np.ndarray):
        turns = zip(images, itertools.cycle(noise.recipes))
        return [noisy(image[np.newaxis], number, [recipe])[0] for number, (image, recipe) in enumerate(turns)]
    count = at_once(images)
    return np.concatenate([noisy(images[start : start + count], start) for start in range(0, len(images), count)])


def at_once(images: Pixels) -> int:
    """Return the number of images of a stack, (N, H, W, C), to which noise is added at a time."""
    return max(1, _CHUNK_PX // int(images.shape[1] * images.shape[2]))


class NoiseLayer(keras.layers.Layer):  # type: ignore[misc]
    """Adds noise in training, else the identity; never part of a saved model."""

    def __init__(self, recipes: Sequence[NoiseRecipe], clip: bool, seed: int) -> None:
        super().__init__(name="noise", dtype="float32")
        self.recipes = tuple(recipes)
        self.clip = clip
        self.generator = random.SeedGenerator(seed)

    def call(self, images: Any, training: bool = False) -> Any:
        """Return noisy images of the same shape, (N, H, W, C)."""
        return apply_noise(images, self.recipes, self.clip, self.generator) if training and any(self.recipes) else images

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Sequence[int | None]:
        """Return the shape unchanged."""
        return input_shape
