"""Make the coefficients of `dae_runtime.pixels.level_model`: `python -m dae_tools.fit_level PHOTOS... -o FILE`.

Clean photographs get noise of known levels, white and as cameras leave it, or none; a regression is fitted to what
`dae_runtime.pixels.level.statistics` says of them. Photographs with real noise take no part: they are for judging, with
`python -m dae_tools.pairs --levels`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt

from dae_runtime.errors import InputError
from dae_runtime.images import find_images, read_image
from dae_runtime.pixels.arrays import LUMA, convert
from dae_runtime.pixels.level import features, statistics
from dae_runtime.pixels.level_model import LEAST_LEVEL, Model, pairs
from dae_runtime.system.command import run_command

from .camera_noise import Colors, Rng, add_correlated, add_mosaic, add_white, blur, finish

KINDS = {"clean": 0.15, "white": 0.2, "correlated": 0.3, "mosaic": 0.35}
"""How often each kind of noise is drawn."""
SIDES_PX = (160, 256, 384)
RIDGE = 0.1
NEAR = 0.15
"""Errors of the logarithm below this count by their squares, larger ones by their size: no image outweighs the others."""
ROUNDS = 8

Float64 = npt.NDArray[np.float64]


def draw(rng: Rng, photograph: Colors) -> tuple[Colors, Colors]:
    """Return a noisy version of a part of a photograph, and the same without noise."""
    clean = photograph
    if rng.random() < 0.5:  # shrunk by half: sharper, and cleaner than it was
        height, width = (length // 2 for length in clean.shape[:2])
        clean = clean[: 2 * height, : 2 * width].reshape(height, 2, width, 2, 3).mean(axis=(1, 3))
    side = int(rng.choice(SIDES_PX))
    top, left = (int(rng.integers(0, max(1, length - side + 1))) for length in clean.shape[:2])
    clean = clean[top : top + side, left : left + side]
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    if kind != "white" and rng.random() < 0.6:
        clean = blur(clean, rng.uniform(0.3, 0.9))
    if rng.random() < 0.3:
        clean = clean * np.float32(rng.uniform(0.25, 1))
    if kind == "clean":
        coded = finish(rng, clean)
        return coded, coded
    if kind == "white":
        return add_white(rng, clean, 60 * rng.random() ** 1.5 / 255), clean
    level = math.exp(rng.uniform(math.log(0.8), math.log(30))) / 255
    return (add_correlated if kind == "correlated" else add_mosaic)(rng, clean, level), clean


def gray_of(rng: Rng, colors: Sequence[Colors]) -> list[Colors]:
    """Return one channel of each image, or its brightness; (H, W, 1), of all the same."""
    weights = np.array([*np.eye(3), LUMA], np.float32)[int(rng.integers(4))]
    return [(image @ weights)[..., None] for image in colors]


def fit(rows: Float64, levels: Float64) -> Model:
    """Fit the logarithm of levels (of 255) to features, all products of two of them included."""
    values = np.stack([np.concatenate([row, pairs(row)]) for row in rows])
    target = np.log(np.maximum(levels, LEAST_LEVEL))
    mean, spread = values.mean(axis=0), values.std(axis=0)
    scaled = np.column_stack([(values - mean) / spread, np.ones(len(values))])
    penalty = RIDGE * len(values) * np.diag([1.0] * values.shape[1] + [0.0])
    weights = np.ones(len(values))
    for _ in range(ROUNDS):
        found = np.linalg.solve((scaled.T * weights) @ scaled + penalty, (scaled.T * weights) @ target)
        weights = 1 / np.maximum(np.abs(scaled @ found - target), NEAR)
    slopes = found[:-1] / spread
    count = rows.shape[1]
    constant = float(found[-1] - slopes @ mean)
    return Model(constant, tuple(map(float, slopes[:count])), tuple(map(float, slopes[count:])))


def _text(model: Model) -> str:
    lines = ["MODEL = Model(", f"    constant={model.constant:.6f},"]
    for field in ("linear", "quadratic"):
        numbers = [f"{number:.6f}" for number in getattr(model, field)]
        lines.append(f"    {field}=(")
        lines += ["        " + ", ".join(numbers[start : start + 10]) + "," for start in range(0, len(numbers), 10)]
        lines.append("    ),")
    return "\n".join([*lines, ")"])


def _photographs(folders: Sequence[str]) -> list[npt.NDArray[np.uint8]]:
    paths = [path for folder in folders for path in find_images(folder)]
    images = [read_image(path).pixels for path in paths]
    found = [
        image for image in images if image.ndim == 3 and image.shape[2] == 3 and min(image.shape[:2]) >= 2 * min(SIDES_PX)
    ]
    if not found:
        raise InputError(f"{', '.join(folders)}: no color photograph of at least {2 * min(SIDES_PX)} pixels on each side.")
    return found


@click.command()
@click.argument("photos", nargs=-1, required=True)
@click.option("-o", "--output", required=True, help="Module to write the coefficients into, in place of those it has.")
@click.option("--samples", type=click.IntRange(200), default=4000, show_default=True, help="Noisy images to draw.")
@click.option("--seed", type=int, default=0, show_default=True)
def command(photos: tuple[str, ...], output: str, samples: int, seed: int) -> int:
    """Fit the regression on the clean photographs in some folders, in color and in gray."""
    rng = np.random.default_rng(seed)
    images = _photographs(photos)
    rows: list[Float64] = []
    levels: list[float] = []
    for _ in range(samples):
        pair = draw(rng, convert(images[int(rng.integers(len(images)))], np.float32))
        for noisy, clean in (pair, gray_of(rng, pair)):
            found = statistics(noisy)
            if found is not None:
                rows.append(features(found.deviations))
                levels.append(255 * math.sqrt(float(np.mean(np.square(noisy - clean)))))
    text = _text(fit(np.stack(rows), np.array(levels)))
    path = Path(output)
    head = path.read_text("utf-8").split("MODEL = ")[0]
    path.write_text(f"{head}{text}\n", "utf-8")
    return 0


if __name__ == "__main__":
    run_command(command)
