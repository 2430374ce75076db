"""What a model is told of the noise of an image, or of images of one camera at one ISO.

Texture everywhere reads as noise. What a model is given is therefore not the measured level but the advised one
(`advised`): it asks, too, whether all flat parts are of one kind, as one camera's noise is in one image and texture is not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from .arrays import Array, color_channels
from .level import level_of, statistics

MOST_ADDED_SHARE, MOST_ADDED = 0.2, 1.0
"""On the scale of 0 to 255, like those below. What is added to the level of noise: the smooth noise of cameras comes out best
when a model is told a little more."""
NEAR, PULL = 0.6, 0.8
"""Levels that differ from the usual one of finished photographs by less than a factor of e ** NEAR are pulled to it, by this
share at most: the level is measured to a quarter, and what is told should err to where most photographs are."""
RISE, RISE_FROM = 0.04, 5.0
"""By how much the limits of evenness grow for each step of the level, and from where: strong noise that is taken for texture
stays visible."""


@dataclass(frozen=True)
class Advice:
    """What is told by, on the scale of 0 to 255: fitted to the models in the box, of which `photo` takes less from detail."""

    harmless: float
    """A model told no more than this keeps a clean photograph to 45 dB or better."""
    usual: float
    """The level to which those near it are pulled."""
    even: float
    """Where spectra differ less between blocks than this it is noise."""
    uneven: float
    """Where they differ more it is texture."""


EVENEST = 0.25
"""Of images with the same noise, the share that tells how even it is."""
GRAY, COLOR = Advice(2.8, 4.5, 0.26, 0.38), Advice(3.2, 5.0, 0.28, 0.42)


@dataclass(frozen=True)
class Noise:
    """What is seen of the noise of an image."""

    level: float
    """As `measure_level`: the standard deviation over pixels and channels, where white is 1."""
    unevenness: float | None
    """As in `Statistics`."""
    is_gray: bool

    @property
    def advised(self) -> float:
        """The level to tell a model where nobody has told one, 0 to 1."""
        return advised(self.level, self.unevenness, GRAY if self.is_gray else COLOR)


def noise_of(image: Array) -> Noise:
    """Return what is seen of the noise of an image, given as for `measure_level`."""
    found, is_gray = statistics(image), color_channels(image.shape[2]) == 1
    return Noise(0.0, None, is_gray) if found is None else Noise(level_of(found.deviations), found.unevenness, is_gray)


def level_of_pages(levels: Sequence[float]) -> float:
    """Return the level of an image of several pages: the root of the mean square of theirs."""
    return math.sqrt(fmean(level**2 for level in levels))


def shared_level(found: Sequence[Noise]) -> float:
    """Return the level to tell a model for images that have the same noise, as of one camera at one ISO, 0 to 1.

    It is advised for the median of their levels, and for the unevenness that a quarter of them stay below: texture is not
    in all images, and noise is.

    Args:
        found: Of each image, all gray or all with colors; at least one.
    """
    uneven = [noise.unevenness for noise in found if noise.unevenness is not None]
    unevenness = float(np.quantile(uneven, EVENEST)) if uneven else None
    return Noise(float(np.median([noise.level for noise in found])), unevenness, found[0].is_gray).advised


def advised(level: float, unevenness: float | None, advice: Advice) -> float:
    """Return the level to tell a model: a little more than measured where it is noise, at most a harmless one where texture.

    Between the two it is their weighted geometric mean. Levels of noise near the usual one are pulled to it.

    Args:
        level: Measured, where white is 1.
        unevenness: As in `Statistics`; None leaves the level as it is.
        advice: That for gray images or for colors.

    Returns:
        The level, where white is 1, 0 to 1; 0 for 0.
    """
    if unevenness is None:
        return level
    measured = 255 * level
    limit = advice.uneven + RISE * max(0.0, measured - RISE_FROM)
    noise = min(1.0, max(0.0, (limit - unevenness) / (advice.uneven - advice.even)))
    if_noise = _pulled(measured + min(MOST_ADDED_SHARE * measured, MOST_ADDED), advice.usual)
    if_texture = min(measured, advice.harmless)
    return float(min(1.0, if_noise**noise * if_texture ** (1 - noise) / 255))


def _pulled(level: float, usual: float) -> float:
    """Return a level, on the scale of 0 to 255, pulled to the usual one where it is near."""
    distance = math.log(level / usual) / NEAR if level else math.inf
    if abs(distance) >= 1:
        return level
    return usual * math.exp(NEAR * distance * (1 - PULL * (1 - distance**2)))
