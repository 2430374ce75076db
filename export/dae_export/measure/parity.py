"""Parity of the exported graph and the Keras model on the same images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from dae_runtime.contract import ImageSpec, Parity, Shape, SigmaInput
from dae_runtime.engine.session import open_session, run_session
from dae_runtime.errors import DaeError
from dae_runtime.pixels.arrays import FloatArray

from ..errors import ParityError
from .batches import Leveled, arguments, spread

NOISE_SIGMA = 0.2


def parity_shapes(images: ImageSpec) -> tuple[Shape, ...]:
    """Return the (N, H, W, C) to compare: several batch sizes, and for a free size small, odd and large multiples."""
    unit = images.alignment_px
    large = -(-96 // unit)
    sizes = ((1, 1, 1), (2, 1, 3), (1, 7, 5), (5, 4, 6), (2, large, large + 1))
    return images.shapes(tuple((count, height * unit, width * unit) for count, height, width in sizes), (1, 2, 5))


def check_parity(
    model: bytes,
    reference: Callable[..., FloatArray],
    shapes: Sequence[Shape],
    tolerance: float = 1e-5,
    levels: SigmaInput | None = None,
) -> Parity:
    """Compare an ONNX model with its reference.

    Args:
        model: Content of a float32 ONNX file.
        reference: The Keras model, from (N, H, W, C) float32 in [0, 1], and (N, 1) noise levels if it takes them, to the same
            shape as the images.
        shapes: The (N, H, W, C) of each case.
        tolerance: Largest absolute difference allowed, in units of the value range [0, 1].
        levels: The noise levels that the model is given, from 0 up; None if it takes none.

    Raises:
        ParityError: The outputs differ by more, differ in shape, or are not finite.
    """
    session = open_session(model, "cpu")
    errors: list[float] = []
    for shape in shapes:
        noisy = noisy_images(shape)
        case = arguments(noisy if levels is None else Leveled(noisy, spread(replace(levels, low=0), shape[0])))
        expected = reference(*case)
        if not np.isfinite(expected).all():
            raise ParityError("the Keras model returns values that are not finite. Its training diverged. Train it again.")
        try:
            received = run_session(session, *case)
        except DaeError as error:
            raise ParityError(
                f"the exported graph cannot run on images of shape {shape}: {error} A layer of the model depends on the image "
                "size; give the model's input a fixed height and width."
            ) from error
        errors.append(float(np.max(np.abs(received.astype(np.float64) - expected))))
    worst = int(np.argmax(errors))
    if not max(errors) <= tolerance:
        raise ParityError(
            f"the exported graph differs from the Keras model by {max(errors):.3g} on images of shape {shapes[worst]}; "
            f"at most {tolerance:g} is allowed. Increase --atol if the weights are large, or report the layers of the model."
        )
    return Parity(max(errors), tolerance, tuple(shapes))


def noisy_images(shape: Shape, seed: int = 0) -> FloatArray:
    """Return noisy images: smooth shading and edges plus Gaussian noise; the first is random black and white.

    Args:
        shape: (N, H, W, C).
        seed: Random seed.

    Returns:
        A new float32 array in [0, 1].
    """
    generator = np.random.default_rng(seed)
    batch, height, width, channels = shape
    rows, columns = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")
    waves = generator.uniform(1, 12, (batch, 1, 1, channels, 2))
    shading = 0.5 + 0.5 * np.sin(waves[..., 0] * rows[None, ..., None] + waves[..., 1] * columns[None, ..., None])
    edges = np.where(rows + columns < generator.uniform(0.5, 1.5, (batch, 1, 1)), 1.0, 0.4)[..., None]
    noisy = shading * edges + NOISE_SIGMA * generator.standard_normal(shape)
    noisy[0] = np.where(generator.random(shape[1:]) < 0.5, 0.0, 1.0)  # both ends of the range
    return np.clip(noisy, 0, 1).astype(np.float32)
