"""A teacher that sees images turned and flipped at random: on average a network learns its mean over all eight ways.

Source:
    Timofte, Rothe, Van Gool: Seven ways to improve example-based single image super resolution. CVPR 2016: the mean over
    turns and flips is better than a single output.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops, random


class Turned(keras.layers.Layer):  # type: ignore[misc]
    """Gives a teacher images that are flipped and transposed at random, and undoes that; never part of a saved model."""

    def __init__(self, teacher: keras.Model, seed: int) -> None:
        """Wrap a network for images (N, H, W, C), and for their levels (N, 1) if it is given these."""
        super().__init__(name="turned", dtype="float32", trainable=False)
        self.teacher = teacher
        self.generator = random.SeedGenerator(seed)

    def call(self, images: Any, level: Any = None) -> Any:
        """Return the output for `images`, (N, H, W, C), each seen in one of eight ways; of four where H is not W."""
        count = ops.shape(images)[0]
        rows, columns, across = (random.uniform((count, 1, 1, 1), seed=self.generator) < 0.5 for _ in range(3))
        square = images.shape[1] is not None and images.shape[1] == images.shape[2]
        seen = ops.where(rows, ops.flip(images, 1), images)
        seen = ops.where(columns, ops.flip(seen, 2), seen)
        if square:
            seen = ops.where(across, ops.transpose(seen, (0, 2, 1, 3)), seen)
        output = ops.cast(self.teacher(seen if level is None else [seen, level], training=False), "float32")
        if square:
            output = ops.where(across, ops.transpose(output, (0, 2, 1, 3)), output)
        output = ops.where(columns, ops.flip(output, 2), output)
        return ops.where(rows, ops.flip(output, 1), output)

    def compute_output_shape(self, images_shape: tuple[Any, ...], level_shape: Any = None) -> tuple[Any, ...]:
        """Return the shape unchanged."""
        del level_shape
        return images_shape
