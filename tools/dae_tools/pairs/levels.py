"""How near the measured noise level is to the true one, on pairs of images or on synthetic noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt

from dae_runtime.images import find_images, read_image
from dae_runtime.pixels.arrays import Array, as_batch, convert
from dae_runtime.pixels.level import measure_level

from ..camera_noise import Colors, Rng, add_correlated, add_mosaic, add_white

WHITE_LEVELS = (2, 5, 10, 15, 25, 50)
CAMERA_LEVELS = (2, 5, 12)
"""On the scale of 0 to 255."""
Add = Callable[[Rng, Colors, float], Colors]


def measured_and_true(noisy: Array, clean: Array) -> tuple[float, float]:
    """Return the measured and the true level of a noisy image, on the scale of 0 to 255.

    The mean difference of a channel does not count: between two shots a lamp flickers, which is no noise.
    """
    planes = [convert(as_batch(image)[0], np.float32) for image in (noisy, clean)]
    noise = planes[0] - planes[1]
    return 255 * measure_level(planes[0]), 255 * math.sqrt(float(noise.var(axis=(0, 1), dtype=np.float64).mean()))


def synthetic_levels(folder: Path, add: Add, level: float) -> list[tuple[float, float]]:
    """Return the measured and the true level of the color images of a folder with noise of a level (of 255) added."""
    found = []
    for number, path in enumerate(find_images(folder)):
        clean = convert(as_batch(read_image(path).pixels)[0], np.float32)
        noisy = add(np.random.default_rng(number), clean, level / 255)
        found.append(measured_and_true(noisy, clean))
    return found


def scatter(levels: list[tuple[float, float]]) -> str:
    """Return in words how near measured levels are to the true ones."""
    measured, true = (np.array(column) for column in zip(*levels, strict=True))
    if not true.any():
        low, middle, high = np.quantile(measured, (0.1, 0.5, 0.9))
        return f"true   0.0   measured {middle:5.2f} [{low:.2f}, {high:.2f}], at most {measured.max():.2f}"
    ratio: npt.NDArray[np.float64] = measured / true
    low, middle, high = np.quantile(ratio, (0.1, 0.5, 0.9))
    spread = float(np.std(np.log(np.maximum(ratio, 0.01))))
    return (
        f"true {np.median(true):5.1f}   ratio {middle:.2f} [{low:.2f}, {high:.2f}], {ratio.min():.2f} to {ratio.max():.2f}; "
        f"spread of its logarithm {spread:.2f}"
    )


def print_synthetic(clean: Path) -> None:
    """Print the scatter on the images of a folder for no noise, white, correlated, and of a mosaic (`camera_noise`)."""

    def no_noise(rng: Rng, colors: Colors, level: float) -> Colors:
        return colors

    rows: list[tuple[str, Add, float]] = [("clean", no_noise, 0)]
    rows += [("white", add_white, level) for level in WHITE_LEVELS]
    rows += [("correlated", add_correlated, level) for level in CAMERA_LEVELS]
    rows += [("mosaic", add_mosaic, level) for level in CAMERA_LEVELS]
    for name, add, level in rows:
        click.echo(f"{name:11}{scatter(synthetic_levels(clean, add, level))}")
