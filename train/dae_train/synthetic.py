"""Training images out of nothing: dead leaves and pages of glyphs.

Dead leaves are opaque shapes of random size that cover each other. With radii distributed as r^-3 they share with photographs
the scale invariance and the many sharp edges, and denoisers learn from them almost as well as from photographs.

Source:
    Lee, Mumford, Huang: Occlusion models for natural images. International Journal of Computer Vision 41, 2001.
    Achddou, Gousseau, Ladjal: Synthetic images as a regularity prior for image restoration neural networks. SSVM 2021.
"""

from __future__ import annotations

import functools
import math
import string
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .image_set import ImageSet, digest

DEFAULT_COUNT = 512
IMAGE_PX = 128
GLYPH_SHARE = 0.3
"""Part of the images that show glyphs."""
RADIUS_PX = (3.0, 60.0)
LEAVES_PER_PIXEL = 1 / 45
"""Enough for nearly no pixel of the background to show."""
FONTS = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSerif.ttf", "DejaVuSerif-Italic.ttf", "DejaVuSansMono.ttf")
SHADE = 0.1
"""How much a leaf's brightness varies across it."""
_ALPHABET = string.ascii_letters + string.digits + ".,;:!?()+-=%&"

_Canvas = npt.NDArray[np.float32]


def read(count: int | None, patch_px: int | None, channels: int, seed: int) -> tuple[ImageSet, None, str]:
    """Make the images of a run: `count` of them (512 if None), at least as large as the patch.

    Returns:
        The images, no test images, and the SHA-256 of their pixels.
    """
    images = make_images(count or DEFAULT_COUNT, max(IMAGE_PX, patch_px or 0), channels, seed)
    return ImageSet(images), None, digest([images])


def make_images(count: int, size_px: int, channels: int, seed: int) -> npt.NDArray[np.uint8]:
    """Make synthetic images.

    Args:
        count: Number of images; the first images are the same for every count.
        size_px: Height and width.
        channels: 1 (gray) or 3 (RGB).
        seed: Decides the images.

    Returns:
        New uint8 array (count, size_px, size_px, channels).
    """
    images = np.empty((count, size_px, size_px, channels), np.uint8)
    for index in range(count):
        rng = np.random.default_rng([seed, 1, index])
        draw = glyph_page if rng.random() < GLYPH_SHARE else dead_leaves
        images[index] = np.rint(draw(size_px, channels, rng) * 255)
    return images


def dead_leaves(size_px: int, channels: int, rng: np.random.Generator) -> _Canvas:
    """Return one dead-leaves image, float32 (size_px, size_px, channels) in [0, 1]."""
    canvas = _shading(size_px, channels, rng)
    count = round(size_px * size_px * LEAVES_PER_PIXEL)
    radii = _power_law(rng, count, size_px)
    centers = rng.uniform(-5, size_px + 5, (count, 2))
    colors = _colors(rng, count, channels)
    shapes = rng.random((count, 2))
    places = np.column_stack([radii, centers, shapes]).tolist()  # Python floats: quicker one by one than numpy's
    for (radius, row, column, turn, flatness), color in zip(places, colors, strict=True):
        _paint_leaf(canvas, radius, row, column, color, turn * math.pi, flatness)
    return canvas


def glyph_page(size_px: int, channels: int, rng: np.random.Generator) -> _Canvas:
    """Return one image of letters and digits of several sizes, float32 (size_px, size_px, channels) in [0, 1]."""
    canvas = _shading(size_px, channels, rng)
    words = int(rng.integers(8, 30))
    colors = _colors(rng, words, channels)
    for color in colors:
        text = "".join(rng.choice(list(_ALPHABET), int(rng.integers(1, 9))))
        coverage = render_text(text, float(rng.uniform(9, 9 + size_px / 5)), str(rng.choice(FONTS)))
        row, column = rng.integers(-8, size_px, 2)
        _blend(canvas, coverage, int(row), int(column), color)
    return canvas


def render_text(text: str, height_px: float, font: str = FONTS[0]) -> _Canvas:
    """Return how far each pixel is covered by a line of text, float32 (H, W) in [0, 1].

    Args:
        text: At least one visible character.
        height_px: Size of the font.
        font: File name of one of the fonts that come with matplotlib.
    """
    face = _face(font)
    face.set_size(height_px, 72)  # 72 points per inch: a point is a pixel
    face.set_text(text)
    face.draw_glyphs_to_bitmap(antialiased=True)
    return np.asarray(face.get_image(), np.float32) / np.float32(255)


@functools.cache
def _face(font: str):  # type: ignore[no-untyped-def]
    import matplotlib
    from matplotlib.ft2font import FT2Font

    return FT2Font(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / font))


def _power_law(rng: np.random.Generator, count: int, size_px: int) -> npt.NDArray[np.float64]:
    """Draw radii with a density proportional to r^-3, by inverting the distribution of r^-2."""
    smallest, largest = RADIUS_PX[0], max(min(RADIUS_PX[1], size_px / 2), RADIUS_PX[0] + 1)
    return rng.uniform(largest**-2.0, smallest**-2.0, count) ** -0.5


def _colors(rng: np.random.Generator, count: int, channels: int) -> _Canvas:
    """Draw colours around one of three palette tones, so that an image has a mood as photographs do."""
    palette = rng.uniform(0.1, 0.9, (3, channels))
    tones = palette[rng.integers(0, 3, count)] + rng.normal(0, 0.18, (count, 1)) + rng.normal(0, 0.08, (count, channels))
    return np.clip(tones, 0, 1).astype(np.float32)


def _shading(size_px: int, channels: int, rng: np.random.Generator) -> _Canvas:
    """Return a smooth ramp between two colours in a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[:size_px, :size_px] / size_px - 0.5
    share = np.clip(0.5 + rows * np.sin(angle) + columns * np.cos(angle), 0, 1)[..., np.newaxis].astype(np.float32)
    first, second = rng.random((2, channels)).astype(np.float32)
    ramp: _Canvas = first * share + second * (1 - share)
    return ramp


def _paint_leaf(
    canvas: _Canvas, radius: float, row: float, column: float, color: _Canvas, angle: float, flatness: float
) -> None:
    """Paint an ellipse (two thirds) or a rectangle, with edges one pixel wide and a slight shade across."""
    size_px, box = canvas.shape[0], flatness > 2 / 3
    reach = radius * (1.42 if box else 1.0) + 1
    top, bottom = max(0, int(row - reach)), min(size_px, int(row + reach) + 1)
    left, right = max(0, int(column - reach)), min(size_px, int(column + reach) + 1)
    if top >= bottom or left >= right:
        return
    y = np.arange(top - row, bottom - row - 0.5, dtype=np.float32)[:, np.newaxis]
    x = np.arange(left - column, right - column - 0.5, dtype=np.float32)
    cosine, sine = math.cos(angle), math.sin(angle)
    along, across = x * cosine + y * sine, (y * cosine - x * sine) * (1 + flatness)
    distance = np.maximum(np.abs(along), np.abs(across)) if box else np.sqrt(along * along + across * across)
    alpha = np.minimum(np.maximum(radius + 0.5 - distance, 0), 1)  # np.clip costs more on arrays as small as these
    shade = color * (1 - SHADE) + (along * (SHADE / 3 / radius) + SHADE / 2)[..., np.newaxis]
    region = canvas[top:bottom, left:right]
    region += alpha[..., np.newaxis] * (shade - region)


def _blend(canvas: _Canvas, coverage: _Canvas, row: int, column: int, color: _Canvas) -> None:
    size_px = canvas.shape[0]
    top, left = max(0, row), max(0, column)
    part = coverage[top - row : size_px - row, left - column : size_px - column, np.newaxis]
    region = canvas[top : top + part.shape[0], left : left + part.shape[1]]
    region += part * (color - region)
