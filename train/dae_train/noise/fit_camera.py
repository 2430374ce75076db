"""The amounts of `camera` from a folder of finished photographs of one camera, whose noise is correlated.

Crops of the photographs are freed of noise by the bundled model for photographs, and get that of the recipe, with amounts all
over their range. How the numbers of the noise answer to the amounts is a polynomial, equal for all crops but for a constant:
what the texture of each adds. The amounts sought are those at which it gives what the photographs show.

Sources:
    McFadden: A method of simulated moments for estimation of discrete response models without numerical integration.
    Econometrica 57(5), 1989.
    Box, Wilson: On the experimental attainment of optimum conditions. Journal of the Royal Statistical Society B 13(1), 1951:
    the polynomial.
    Huber: Robust estimation of a location parameter. Annals of Mathematical Statistics 35(1), 1964: its fit.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from keras import ops, random

from dae_runtime import Denoiser
from dae_runtime.contract import NOISE_KINDS
from dae_runtime.pixels.arrays import color_channels, convert, luma_of
from dae_runtime.pixels.level import STRIDES_PX, measure_level, statistics

from ..data.folders import read_some
from ..data.image_set import FloatArray, Pixels, to_unit
from ..errors import DataError
from .camera import camera
from .camera_steps import blurred

MOST_IMAGES, MOST_CROPS, FEW_CROPS, CROP_PX = 24, 24, 12, 192
PICTURES = 300
"""About how many pictures are made."""
RANGES = np.array([(math.log(200), math.log(30_000)), (0.0, 1.6), (math.log(0.1), math.log(2.5))])
"""What is tried of sensitivity, blur and color: logarithms of the first and the last, as the numbers are linear in these."""
CLEANER, BLUR_PX, COLOR_BLUR_PX = "photo", 0.45, 1.5
"""What frees crops of noise; blurs of brightness and color for its rounding."""
WIDEST, KNOWN = 0.35, 0.75
"""Of half of what is tried: the longest way to an end of a range; from where on blur and color are not known."""
FARTHEST = 1.0
"""From the photographs to the nearest that the recipe gives, in standard deviations of a picture. Those of cameras are nearer
than 0.15, noise that is far smoother is beyond 2."""
_PLACES, _FOR_TWO = (0.1, 0.9), 1.6
"""Where crops lie in a side that is long enough for two: so many times as long as one."""
_TRIED, _ROUNDS, _NEAR, _RIDGE, _STEP, _SEED = 41, 6, 1.5, 1e-3, 0.05, 20
_MEDIAN_SIZE = 0.6745
CLIPPED = (0.05, 0.95)
"""Crops that are darker or brighter in the mean do not count."""
_FLAT = 0
"""The place of flat parts among `QUANTILES`."""
_LEAST, _MIDDLE = 0.05, np.float32(0.5)
"""Added to deviations, of 255, before logarithms; added to color, which is around 0."""

_Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CameraFit:
    """Amounts of `camera`."""

    amounts: tuple[float, ...]
    """Sensitivity, blur and, of color photographs, color."""
    ranges: tuple[tuple[float, float], ...]
    """Around each: how much it differs between crops, and how far it may be off; the usual ones where nothing tells."""
    crops: int
    """Number of crops that were measured."""
    numbers: tuple[float, ...]
    """Their medians; see `numbers`."""

    def spec(self, low: float = 1.0, high: float = 1.0) -> str:
        """Return the noise specification, with a range of factors for the standard deviation, the root of the sensitivity."""
        scaled = tuple(end * factor**2 for end, factor in zip(self.ranges[0], (low, high), strict=True))
        parts = zip((scaled, *self.ranges[1:]), NOISE_KINDS["camera"], strict=False)
        return "camera:" + ",".join(
            "-".join(_text(min(max(end, kind.low), kind.high)) for end in ends) for ends, kind in parts
        )

    def record(self) -> dict[str, Any]:
        """Return the result, for people: the amounts, and what was measured for them."""
        named = zip(("iso", "blur", "color"), self.amounts, strict=False)
        seen = zip(("log_level", "log_roughness", "log_color_over_luma"), self.numbers, strict=False)
        shown = {name: float(_text(amount)) for name, amount in named}
        return {**shown, "crops": self.crops, **{name: round(number, 3) for name, number in seen}}


@dataclass(frozen=True)
class _Answer:
    """How the numbers of noise answer to amounts."""

    slopes: _Values
    """(terms, numbers)."""
    constants: _Values
    """What each crop adds, (crops, numbers)."""
    spread: _Values
    """Standard deviation of a picture around the answer, (numbers,)."""

    def at(self, places: _Values) -> _Values:
        """Return the numbers at places (N, amounts), without constants, (N, numbers)."""
        return _terms(places) @ self.slopes


def fit_camera_folder(folder: Path) -> CameraFit | None:
    """Fit the recipe to the images below a folder, at most 24, evenly spaced.

    Returns:
        None if they hold no more noise than the least that is tried.

    Raises:
        DataError: There are no images, some cannot be read, or their noise is not that of the recipe.
    """
    found = [crop for image in read_some(folder, MOST_IMAGES) for crop in _crops(image)]
    channels = max((crop.shape[2] for crop in found), default=1)
    alike = [crop for crop in found if crop.shape[2] == channels]
    if not alike:
        raise DataError(
            f"the noise of {folder} cannot be measured: it is correlated between pixels, and no image has {CROP_PX}x{CROP_PX} "
            "pixels neither black nor white, as it takes then. Give larger images, or better exposed ones."
        )
    fit, distance = fit_crops(np.stack(_most_even(alike)))
    if distance > FARTHEST:
        raise DataError(
            f"the noise of {folder} cannot be measured: it is correlated between pixels, and not as the recipe camera makes "
            f"it ({distance:.1f} standard deviations from the nearest; the limit is {FARTHEST:g}). Give photographs as one "
            "camera writes them, neither enlarged nor edited, or name a recipe, or train on the noisy images themselves."
        )
    return fit if fit.amounts[0] > math.exp(RANGES[0, 0]) * (1 + _STEP) else None


def fit_crops(crops: FloatArray) -> tuple[CameraFit, float]:
    """Fit the recipe to crops of photographs.

    Args:
        crops: (N, H, W, C) in 0..1 with C 1 or 3.

    Returns:
        The fit, and how far the crops are from what it makes, in standard deviations of a picture.
    """
    ranges = RANGES[: 3 if crops.shape[3] == 3 else 2]
    middle, half = ranges.mean(axis=1), np.ptp(ranges, axis=1) / 2
    answer = _answer(_cleaned(crops), middle, half)
    seen = np.array([numbers(crop) for crop in crops])
    wanted = np.median(seen - answer.constants, axis=0)
    tried = np.stack(np.meshgrid(*[np.linspace(-1, 1, _TRIED)] * len(ranges), indexing="ij"), axis=-1)
    places = tried.reshape(-1, len(ranges))
    distances = np.linalg.norm((answer.at(places) - wanted) / answer.spread, axis=1)
    best = places[np.argmin(distances)]
    reach = _reach(answer, best, seen)
    low, high = (_amounts(middle + half * np.clip(best + sign * reach, -1, 1)).tolist() for sign in (-1, 1))
    found = _amounts(middle + half * best).tolist()
    pairs = [_usual(index) if _beyond(index, best) else ends for index, ends in enumerate(zip(low, high, strict=True))]
    fit = CameraFit(tuple(found), tuple(pairs), len(crops), tuple(np.median(seen, axis=0).tolist()))
    return fit, float(distances.min())


def numbers(image: FloatArray) -> _Values:
    """Return the numbers that tell the amounts: level, roughness, and color over brightness, all logarithms.

    The level is the one measured in any image. The others are of differences between pixels: in brightness, of neighbors over
    3 pixels apart, in flat parts, where texture is least; and of color over brightness 6 pixels apart, as the noise of color
    is coarse, in the mean over flat and average parts, as cameras leave little of it in flat ones.

    Args:
        image: (H, W, C) in 0..1 with C 1 or 3, sides of at least 10; of 1 there is no color.

    Returns:
        (3,), or (2,) of gray.
    """
    gray = luma_of(image)
    colors = [_MIDDLE + image[..., channel : channel + 1] - gray for channel in (0, 2)] if image.shape[2] == 3 else []
    log, *logs = (_log_deviations(plane) for plane in (gray, *colors))
    level = math.log(255 * measure_level(image) + _LEAST)
    rough = log[1][_FLAT] - log[3][_FLAT]
    return np.array([level, rough, *([np.mean([logs[0][6], logs[1][6]]) - np.mean(log[6])] if logs else [])])


def _log_deviations(plane: FloatArray) -> dict[int, _Values]:
    """Return logarithms for each of `STRIDES_PX`, of flat and of average parts, (2,) each."""
    found = statistics(plane)
    assert found is not None  # crops are large
    return dict(zip(STRIDES_PX, np.log(255 * found.deviations[0] + _LEAST), strict=True))


def _beyond(index: int, best: _Values) -> bool:
    """Tell whether blur or color lies near an end of what is tried, so that it is not known; no blur at all is no end."""
    return bool(index and (best[index] > KNOWN or (index > 1 and best[index] < -KNOWN)))


def _usual(index: int) -> tuple[float, float]:
    usual = NOISE_KINDS["camera"][index].default
    assert usual is not None
    return usual.low, usual.high


def _crops(image: Pixels) -> list[FloatArray]:
    """Return up to four parts of an image, (192, 192, C) in 0..1, with noise that can be measured."""
    sizes = image.shape[:2]
    if min(sizes) < CROP_PX:
        return []
    shares = [_PLACES if size >= _FOR_TWO * CROP_PX else (0.5,) for size in sizes]
    starts = [[round((size - CROP_PX) * share) for share in each] for size, each in zip(sizes, shares, strict=True)]
    colors = image[..., : color_channels(image.shape[2])]
    parts = [to_unit(colors[top : top + CROP_PX, left : left + CROP_PX]) for top, left in itertools.product(*starts)]
    return [part for part in parts if CLIPPED[0] < part.mean() < CLIPPED[1]]


def _most_even(crops: list[FloatArray]) -> list[FloatArray]:
    """Return the half of the crops, at least 12 and at most 24, whose flat parts differ least: noise rather than texture."""
    count = min(MOST_CROPS, max(FEW_CROPS, math.ceil(len(crops) / 2)))
    return sorted(crops, key=_unevenness)[:count]


def _unevenness(crop: FloatArray) -> float:
    found = statistics(crop)
    assert found is not None  # as above
    assert found.unevenness is not None
    return found.unevenness


def _cleaned(crops: FloatArray) -> FloatArray:
    """Return crops, (N, H, W, C), without most of their noise, and with most of their texture."""
    with Denoiser(CLEANER) as denoiser:
        clean = to_unit(denoiser.denoise(convert(crops, np.uint8)))
    gray = luma_of(clean)
    planes = ((gray, BLUR_PX), (clean - gray, COLOR_BLUR_PX))
    soft = [blurred(ops.convert_to_tensor(plane), ops.full((len(clean), 1, 1, 1), width)) for plane, width in planes]
    return np.asarray(ops.convert_to_numpy(soft[0] + soft[1]))


def _answer(clean: FloatArray, middle: _Values, half: _Values) -> _Answer:
    """Return the answer of pictures made from clean crops, at places from -1 to 1 around the middle of each range."""
    rounds = math.ceil(PICTURES / len(clean))
    count = rounds * len(clean)
    rng, seed = np.random.default_rng(_SEED), random.SeedGenerator(_SEED)
    places = np.stack([(rng.permutation(count) + 0.5) / count * 2 - 1 for _ in half], axis=1)  # a Latin hypercube
    parts = np.split(places, rounds)
    made = [numbers(picture) for part in parts for picture in _noisy(clean, _amounts(middle + half * part), seed)]
    return _fitted(places, np.array(made), np.tile(np.eye(len(clean)), (rounds, 1)))


def _noisy(clean: FloatArray, amounts: _Values, seed: Any) -> FloatArray:
    """Return pictures with noise of the recipe; of gray ones the amount of color is of no effect."""
    drawn = [ops.convert_to_tensor(column.reshape(-1, 1, 1, 1).astype(np.float32)) for column in amounts.T]
    noisy = camera(ops.convert_to_tensor(clean), drawn[0], drawn[1], drawn[-1], seed)
    return np.asarray(ops.convert_to_numpy(noisy))


def _fitted(places: _Values, found: _Values, crops: _Values) -> _Answer:
    """Fit the answer by a Huber loss; `crops` says by ones which crop each picture is of, (pictures, crops)."""
    terms = _terms(places)
    inputs = np.column_stack([terms, crops])
    weights, penalty = np.ones_like(found), _RIDGE * np.eye(inputs.shape[1])
    for _ in range(_ROUNDS):
        columns = zip(weights.T, found.T, strict=True)
        solved = np.stack(
            [np.linalg.solve((inputs.T * w) @ inputs + penalty, (inputs.T * w) @ column) for w, column in columns], axis=1
        )
        off = np.abs(found - inputs @ solved)
        spread = np.median(off, axis=0) / _MEDIAN_SIZE + 1e-9
        weights = 1 / np.maximum(1, off / (_NEAR * spread))
    return _Answer(solved[: terms.shape[1]], solved[terms.shape[1] :], spread)


def _reach(answer: _Answer, best: _Values, seen: _Values) -> _Values:
    """Return half the uniform range of each amount around the best, as a place.

    Its variance is what the crops differ more than pictures of fixed amounts, and that of the estimate.
    """
    off = np.abs(seen - answer.constants - answer.at(best[np.newaxis]))
    more = np.maximum(0, np.square(np.median(off, axis=0) / _MEDIAN_SIZE) - np.square(answer.spread))
    steps = _STEP * np.eye(len(best))
    slopes = np.abs(np.diag(answer.at(best + steps) - answer.at(best - steps))) / (2 * _STEP)
    deviation = np.sqrt(more + np.square(answer.spread) / len(seen))
    reach: _Values = np.minimum(WIDEST, math.sqrt(3) * deviation / np.maximum(slopes, _STEP))
    return reach


def _terms(places: _Values) -> _Values:
    """Return the terms of the answer at places (N, amounts): squares and products, and the cube of the sensitivity."""
    pairs = itertools.combinations_with_replacement(range(places.shape[1]), 2)
    return np.column_stack([places, *(places[:, a] * places[:, b] for a, b in pairs), places[:, 0] ** 3])


def _amounts(values: _Values) -> _Values:
    """Return amounts of what is tried of them, (..., amounts)."""
    amounts: _Values = np.where(np.arange(values.shape[-1]) == 1, values, np.exp(values))
    return amounts


def _text(amount: float) -> str:
    return f"{amount:.2g}" if amount < 100 else f"{amount:.0f}"
