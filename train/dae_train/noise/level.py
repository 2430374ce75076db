"""Noise together with its level, for networks that are given it: the standard deviation over all pixels of an image.

Of Gaussian noise alone it is the one that was drawn, whatever clipping takes off again: it is what a user knows or an
estimator finds. Of any other noise it is measured, as the root mean square of what was added.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops, random

from dae_runtime.contract import NoiseRecipe

from ..data.image_set import FloatArray, Pixels, to_unit
from ..settings.noise import CustomNoise, NoiseSettings
from .custom import add_custom
from .layer import Seed, apply_recipe, at_once, share_out


class LeveledNoise(keras.layers.Layer):  # type: ignore[misc]
    """Adds noise while training, and says how much; never part of a saved model."""

    def __init__(self, recipes: Sequence[NoiseRecipe], clip: bool, seed: int, paired: bool) -> None:
        """Measure what the images hold beside their targets where these are others (`paired`)."""
        super().__init__(name="noise", dtype="float32")
        self.recipes, self.clip, self.paired = tuple(recipes), clip, paired
        self.generator = random.SeedGenerator(seed)

    def call(self, images: Any, targets: Any, training: bool = False) -> tuple[Any, Any]:
        """Return noisy images of the same shape, (N, H, W, C), and their levels, (N, 1)."""
        if not training:
            return images, measure(images, targets)
        return _add_leveled(images, targets, self.recipes, self.clip, self.generator, self.paired)

    def compute_output_shape(self, images_shape: Any, targets_shape: Any) -> tuple[Any, Any]:
        """Return both shapes."""
        del targets_shape
        return images_shape, (images_shape[0], 1)


def _is_drawn(recipe: NoiseRecipe, paired: bool) -> bool:
    """Return whether the level is one number that is drawn: of Gaussian noise alone, on clean images."""
    return not paired and [step.kind for step in recipe] == ["gaussian"]


def measure(noisy: Any, clean: Any) -> Any:
    """Return the root mean square of the noise of each image, (N, 1)."""
    return ops.sqrt(ops.mean(ops.square(noisy - clean), axis=(1, 2, 3)))[:, None]


def draw_leveled(
    images: Pixels, clean: Pixels, noise: NoiseSettings, seed: int, paired: bool, custom: CustomNoise | None = None
) -> tuple[FloatArray, FloatArray]:
    """Draw noise on images once, as `draw_noisy`.

    Args:
        images: (N, H, W, C).
        clean: Of the same shape; `images` itself unless they are noisy already.
        noise: What to draw, everything filled in.
        seed: Decides the noise.
        paired: Whether the images hold noise already.
        custom: What adds the noise if it is a function of the program.

    Returns:
        New float32 arrays: the noisy images, and their levels, (N, 1).
    """
    generator = random.SeedGenerator(seed)
    count = at_once(images)
    parts = []
    for start in range(0, len(images), count):
        unit, target = (ops.convert_to_tensor(to_unit(array[start : start + count])) for array in (images, clean))
        if custom is not None:
            noisy = add_custom(custom, to_unit(images[start : start + count]), noise.clip, (seed, start))
            parts.append((noisy, measure(noisy, target)))
        else:
            parts.append(_add_leveled(unit, target, noise.recipes, noise.clip, generator, paired))
    noisy, levels = (np.concatenate([ops.convert_to_numpy(part) for part in kind]) for kind in zip(*parts, strict=True))
    return noisy, levels


def _add_leveled(
    images: Any, targets: Any, recipes: Sequence[NoiseRecipe], clip: bool, seed: Seed, paired: bool
) -> tuple[Any, Any]:
    """Return noisy images, (N, H, W, C), and their levels, (N, 1)."""
    found = []
    for recipe, part, target in share_out(recipes, images, targets):
        noisy, drawn = apply_recipe(part, recipe, clip, seed) if recipe else (part, [])
        found.append((noisy, drawn[0][0][:, :, 0, 0] if _is_drawn(recipe, paired) else measure(noisy, target)))
    if len(found) == 1:
        return found[0]
    noisy, levels = (ops.concatenate(parts) for parts in zip(*found, strict=True))
    return noisy, levels
