"""Textures and blur of synthetic images.

Pixels come from additions, multiplications and a few exponentials, without FFT or BLAS, so that the images hardly depend on
the processor.

Source:
    Achddou, Gousseau, Ladjal: Fully synthetic training for image restoration tasks. Computer Vision and Image Understanding
    233, 2023: power-law noise, warped sinusoids, colors of photographs and depth of field make dead leaves nearly as good a
    training set as photographs.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float32]
"""(H, W)."""

ROUGHNESS = (0.35, 1.0)
"""Weight of an octave relative to the next coarser one: from smooth clouds to grain."""
PERIOD_PX = (2.5, 24.0)
"""Range of stripe periods."""
WARP = 0.6
"""Largest displacement of stripes, in periods per standard deviation of the warp field."""


def rough(size_px: int, rng: np.random.Generator) -> Field:
    """Return power-law noise of mean 0 and variance 1, (size_px, size_px): a sum of smoothly upsampled octaves."""
    decay = rng.uniform(*ROUGHNESS)
    field, weight = np.zeros((4, 4), np.float32), 1.0
    while len(field) < size_px:
        field = _upsampled(_upsampled(field).T).T
        weight *= decay
        field += np.float32(weight) * rng.standard_normal(field.shape, np.float32)
    return _standard(field[:size_px, :size_px])


def stripes(warp: Field, rng: np.random.Generator) -> Field:
    """Return warped stripes in a random direction, of mean 0 and variance 1.

    Args:
        warp: Displacement field of mean 0 and variance 1; determines the shape.
        rng: Random generator.
    """
    angle = rng.uniform(0, math.pi)
    period_px = math.exp(rng.uniform(math.log(PERIOD_PX[0]), math.log(PERIOD_PX[1])))
    rows, columns = np.indices(warp.shape, np.float32)
    phase = (rows * math.sin(angle) + columns * math.cos(angle)) / period_px + rng.uniform(0, WARP) * warp
    place = 2 * (phase - np.floor(phase)) - 1
    return _standard((place * (1 - np.abs(place))).astype(np.float32))  # two parabolas approximate a sine wave


def blur(image: npt.NDArray[np.float32], sigma_px: float) -> npt.NDArray[np.float32]:
    """Return an (H, W, C) image filtered with a Gaussian, with edge padding."""
    reach = math.ceil(2.5 * sigma_px)
    weights = np.array([math.exp(-0.5 * (offset / sigma_px) ** 2) for offset in range(-reach, reach + 1)], np.float32)
    weights /= weights.sum()
    for axis in (0, 1):
        length = image.shape[axis]
        moved = np.moveaxis(
            np.pad(image, [(reach * (axis == a), reach * (axis == a)) for a in range(3)], mode="edge"), axis, 0
        )
        total = weights[0] * moved[:length]
        for offset in range(1, len(weights)):
            total += weights[offset] * moved[offset : offset + length]
        image = np.moveaxis(total, 0, axis)
    return image


def _upsampled(field: Field) -> Field:
    """Return a field with twice the rows: one step of Chaikin's subdivision (quadratic spline)."""
    edged = np.pad(field, ((1, 1), (0, 0)), mode="edge")
    doubled = np.empty((2 * len(field), field.shape[1]), np.float32)
    doubled[0::2] = 0.75 * field + 0.25 * edged[:-2]
    doubled[1::2] = 0.75 * field + 0.25 * edged[2:]
    return doubled


def _standard(field: Field) -> Field:
    centered = field - field.mean()
    deviation = math.sqrt(float(np.mean(centered * centered)))
    standard: Field = centered / np.float32(max(deviation, 1e-6))
    return standard
