"""Synthetic training images: dead leaves and pages of glyphs.

Dead leaves are opaque shapes of random size that occlude each other. With radii distributed as r^-3 they have the scale
invariance and the sharp edges of photographs. Textures, a blurred background, and brightness and colors distributed as in
photographs bring denoisers trained on them close to those trained on photographs.

Source:
    Lee, Mumford, Huang: Occlusion models for natural images. International Journal of Computer Vision 41, 2001.
    Achddou, Gousseau, Ladjal: Synthetic images as a regularity prior for image restoration neural networks. SSVM 2021.
    The same: Fully synthetic training for image restoration tasks. Computer Vision and Image Understanding 233, 2023.
"""

from __future__ import annotations

import functools
import math
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .image_set import ImageSet, array_digest
from .textures import Field, blur, rough, stripes

DEFAULT_COUNT = 512
IMAGE_PX = 128
GLYPH_SHARE = 0.2
"""Fraction of glyph pages."""
SMALLEST_PX, LARGEST_PX = (1.5, 8.0), 60.0
"""Radii; the smallest is sampled for each image, so that the level of detail varies."""
LAYERS = 3.0
"""Mean number of leaves over a pixel: enough to cover most of the background."""
SHADE = 0.2
"""Largest brightness change across a leaf."""
FLAT_SHARE = 0.2
"""Fraction of leaves without texture."""
CONTRAST = 0.07
"""Mean of the exponentially distributed standard deviation of textures."""
PAPER_SHARE, PAPER = 0.5, 0.02
"""Fraction of pages with a texture, and the mean of its standard deviation."""
FAR_SHARE, FAR_BLUR_PX = 0.4, (0.5, 3.0)
"""Fraction of images with a blurred background, and the range of its sigma."""
LENS_SHARE, LENS_BLUR_PX = 0.6, (0.3, 0.8)
"""Fraction of images blurred as a whole, and the range of the sigma."""
KEY, KEY_SPREAD = 0.45, 0.13
"""Mean and standard deviation of the mean brightness of images."""
SPREAD = (0.06, 0.36)
"""Range of the standard deviation of leaf brightness in an image."""
DARKEST = 0.01
"""Photographs hardly reach black."""
CHROMA = 0.11
"""Mean of the exponentially distributed color strength of an image."""
CHROMA_AXES = ((0.8, 0.0, -1.2), (0.4, -0.3, 0.4))
"""Red against blue, the largest variation in photographs, and purple against green."""
FONTS = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSerif.ttf", "DejaVuSerif-Italic.ttf", "DejaVuSansMono.ttf")
_AREA = 2.2
"""Mean area of a leaf, in squared radii."""
_ALPHABET = string.ascii_letters + string.digits + ".,;:!?()+-=%&"

_Canvas = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Leaf:
    """An opaque shape."""

    color: _Canvas
    """(channels,)."""
    kind: int
    """Random number that selects shape and texture."""
    radius_px: float
    """Half the length; the width is smaller by `stretch`."""
    row: float
    column: float
    angle: float
    stretch: float
    shade: float
    """Brightness change from end to end."""
    contrast: float
    """Standard deviation of the texture."""


def read(count: int | None, patch_px: int | None, channels: int, seed: int) -> tuple[ImageSet, None, str]:
    """Generate `count` images (512 if None), at least as large as the patch.

    Returns:
        The images, no test images, and the SHA-256 of their pixels.
    """
    images = make_images(count or DEFAULT_COUNT, max(IMAGE_PX, patch_px or 0), channels, seed)
    return ImageSet(images), None, array_digest([images])


def make_images(count: int, size_px: int, channels: int, seed: int) -> npt.NDArray[np.uint8]:
    """Generate synthetic images.

    Args:
        count: Number of images; image i does not depend on it.
        size_px: Height and width.
        channels: 1 (gray) or 3 (RGB).
        seed: Random seed.

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
    leaves = _leaves(size_px, channels, rng)
    surfaces = _surfaces(size_px, rng)
    far = int(rng.uniform(0.3, 0.95) * len(leaves)) if rng.random() < FAR_SHARE else 0
    for leaf in leaves[:far]:
        _paint_leaf(canvas, leaf, surfaces)
    if far:
        canvas = np.ascontiguousarray(blur(canvas, rng.uniform(*FAR_BLUR_PX)))
    for leaf in leaves[far:]:
        _paint_leaf(canvas, leaf, surfaces)
    return _finished(canvas, rng)


def glyph_page(size_px: int, channels: int, rng: np.random.Generator) -> _Canvas:
    """Return one image of letters and digits of several sizes, float32 (size_px, size_px, channels) in [0, 1]."""
    canvas = _shading(size_px, channels, rng)
    if rng.random() < PAPER_SHARE:
        canvas += np.float32(rng.exponential(PAPER)) * rough(size_px, rng)[..., np.newaxis]
    words = int(rng.integers(8, 30))
    colors = _colors(rng, words, channels)
    for color in colors:
        text = "".join(rng.choice(list(_ALPHABET), int(rng.integers(1, 9))))
        coverage = render_text(text, float(rng.uniform(9, 9 + size_px / 5)), str(rng.choice(FONTS)))
        row, column = rng.integers(-8, size_px, 2)
        _blend(canvas, coverage, int(row), int(column), color)
    return _finished(canvas, rng)


def render_text(text: str, height_px: float, font: str = FONTS[0]) -> _Canvas:
    """Return the coverage of each pixel by a line of text, float32 (H, W) in [0, 1].

    Args:
        text: At least one visible character.
        height_px: Font size.
        font: File name of a font bundled with matplotlib.
    """
    face = _face(font)
    face.set_size(height_px, 72)  # 72 dpi: a point is a pixel
    face.set_text(text)
    face.draw_glyphs_to_bitmap(antialiased=True)
    return np.asarray(face.get_image(), np.float32) / np.float32(255)


@functools.cache
def _face(font: str):  # type: ignore[no-untyped-def]
    import matplotlib
    from matplotlib.ft2font import FT2Font

    return FT2Font(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / font))


def _power_law(rng: np.random.Generator, count: int, smallest: float, largest: float) -> npt.NDArray[np.float64]:
    """Sample radii with density proportional to r^-3 by inverse transform sampling of r^-2."""
    return rng.uniform(largest**-2.0, smallest**-2.0, count) ** -0.5


def _leaves(size_px: int, channels: int, rng: np.random.Generator) -> list[Leaf]:
    smallest = math.exp(rng.uniform(math.log(SMALLEST_PX[0]), math.log(SMALLEST_PX[1])))
    largest = max(min(LARGEST_PX, size_px / 2), smallest + 1)
    mean_square = 2 * math.log(largest / smallest) / (smallest**-2 - largest**-2)
    count = round(LAYERS * size_px * size_px / (_AREA * mean_square))
    radii = _power_law(rng, count, smallest, largest)
    centers = rng.uniform(-5, size_px + 5, (count, 2))
    angles = rng.uniform(0, math.pi, count)
    stretches = np.exp(1.6 * rng.random(count) ** 2)
    shades = rng.uniform(0, SHADE, count)
    contrasts = rng.exponential(CONTRAST, count) * (rng.random(count) >= FLAT_SHARE)
    places = np.column_stack([radii, centers, angles, stretches, shades, contrasts]).tolist()  # Python floats are faster
    kinds = rng.integers(0, 2**16, count).tolist()
    colors = _colors(rng, count, channels)
    return [Leaf(color, kind, *place) for color, kind, place in zip(colors, kinds, places, strict=True)]


def _surfaces(size_px: int, rng: np.random.Generator) -> list[Field]:
    clouds = [rough(size_px, rng) for _ in range(3)]
    return [*clouds, stripes(clouds[0], rng), stripes(clouds[1], rng)]


def _colors(rng: np.random.Generator, count: int, channels: int) -> _Canvas:
    """Sample colors around three tones, so that an image has a consistent palette."""
    spread = rng.uniform(*SPREAD)
    tones, which = rng.normal(rng.normal(KEY, KEY_SPREAD), 0.9 * spread, 3), rng.integers(0, 3, count)
    lumas = (tones[which] + rng.normal(0, 0.5 * spread, count))[:, np.newaxis]
    if channels == 1:
        return np.clip(lumas, DARKEST, 1).astype(np.float32)
    strength, axes = rng.exponential(CHROMA), np.array(CHROMA_AXES)
    chroma = rng.normal(0, strength, (3, 2))[which] + rng.normal(0, strength / 2, (count, 2))
    shift = chroma[:, :1] * axes[0] + chroma[:, 1:] * axes[1]
    room = np.clip(4 * lumas * (1 - lumas), 0, 1)  # neither black nor white has color
    colors: _Canvas = np.clip(lumas + shift * room, DARKEST, 1).astype(np.float32)
    return colors


def _finished(canvas: _Canvas, rng: np.random.Generator) -> _Canvas:
    """Return the canvas, blurred in some images, clipped to [0, 1]."""
    if rng.random() < LENS_SHARE:
        canvas = blur(canvas, rng.uniform(*LENS_BLUR_PX))
    clipped: _Canvas = np.clip(canvas, 0, 1)
    return clipped


def _shading(size_px: int, channels: int, rng: np.random.Generator) -> _Canvas:
    """Return a linear gradient between two colors in a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[:size_px, :size_px] / size_px - 0.5
    share = np.clip(0.5 + rows * np.sin(angle) + columns * np.cos(angle), 0, 1)[..., np.newaxis].astype(np.float32)
    first, second = _colors(rng, 2, channels)
    ramp: _Canvas = first * share + second * (1 - share)
    return ramp


def _paint_leaf(canvas: _Canvas, leaf: Leaf, surfaces: Sequence[Field]) -> None:
    """Paint an ellipse (two thirds) or a rectangle with antialiased edges, a texture and a brightness gradient."""
    size_px, radius, box = canvas.shape[0], leaf.radius_px, leaf.kind % 3 == 0
    reach = radius * (1.42 if box else 1.0) + 1
    top, bottom = max(0, int(leaf.row - reach)), min(size_px, int(leaf.row + reach) + 1)
    left, right = max(0, int(leaf.column - reach)), min(size_px, int(leaf.column + reach) + 1)
    if top >= bottom or left >= right:
        return
    y = np.arange(top - leaf.row, bottom - leaf.row - 0.5, dtype=np.float32)[:, np.newaxis]
    x = np.arange(left - leaf.column, right - leaf.column - 0.5, dtype=np.float32)
    cosine, sine = math.cos(leaf.angle), math.sin(leaf.angle)
    along, across = x * cosine + y * sine, (y * cosine - x * sine) * leaf.stretch
    distance = np.maximum(np.abs(along), np.abs(across)) if box else np.sqrt(along * along + across * across)
    alpha = np.minimum(np.maximum(radius + 0.5 - distance, 0), 1)  # faster than np.clip on small arrays
    light = along * (leaf.shade / 2 / radius)
    if leaf.contrast:
        light += leaf.contrast * surfaces[leaf.kind % len(surfaces)][top:bottom, left:right]
    region = canvas[top:bottom, left:right]
    region += alpha[..., np.newaxis] * (leaf.color + light[..., np.newaxis] - region)


def _blend(canvas: _Canvas, coverage: _Canvas, row: int, column: int, color: _Canvas) -> None:
    size_px = canvas.shape[0]
    top, left = max(0, row), max(0, column)
    part = coverage[top - row : size_px - row, left - column : size_px - column, np.newaxis]
    region = canvas[top : top + part.shape[0], left : left + part.shape[1]]
    region += part * (color - region)
