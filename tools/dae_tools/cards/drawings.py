"""A drawn page and drawn digits, to show document and digit models without third-party images."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dae_runtime.pixels.arrays import Float64

Pixels = npt.NDArray[np.uint8]

_ROWS = {
    "0": "### #.# #.# #.# ###",
    "1": ".#. ##. .#. .#. ###",
    "2": "### ..# ### #.. ###",
    "3": "### ..# .## ..# ###",
    "4": "#.# #.# ### ..# ..#",
    "5": "### #.. ### ..# ###",
    "6": "### #.. ### #.# ###",
    "7": "### ..# ..# .#. .#.",
    "8": "### #.# ### #.# ###",
    "9": "### #.# ### ..# ###",
    "a": "### #.# ### #.# #.#",
    "c": "### #.. #.. #.. ###",
    "d": "##. #.# #.# #.# ##.",
    "e": "### #.. ##. #.. ###",
    "g": "### #.. #.# #.# ###",
    "i": "### .#. .#. .#. ###",
    "l": "#.. #.. #.. #.. ###",
    "n": "##. #.# #.# #.# #.#",
    "o": ".#. #.# #.# #.# .#.",
    "p": "### #.# ### #.. #..",
    "r": "##. #.# ##. #.# #.#",
    "s": "### #.. ### ..# ###",
    "t": "### .#. .#. .#. .#.",
    "u": "#.# #.# #.# #.# ###",
    ".": "... ... ... ... .#.",
    " ": "... ... ... ... ...",
}
"""Letters of 5 rows and 3 columns."""
_TEXT = ("a clean page", "is easier to", "read and to", "store. coal 17", "sand 205 iron", "318 tin 42 lead", "509 salt 1157")
PAGE_PX = 192
DIGIT_PX = 28
_INK, _PAPER = 0.12, 1.0
_MARGIN_PX, _LINE_PX = 10, 25


def page() -> tuple[Pixels, Pixels]:
    """Return a page with stains, folds and grain, and the same page clean: (H, W) uint8, 192 pixels a side."""
    clean = np.full((PAGE_PX, PAGE_PX), _PAPER)
    for line, text in enumerate(_TEXT):
        letters = np.concatenate([np.pad(_glyph(letter, 3 - (line > 4)), 1) for letter in text], axis=1)
        top = _MARGIN_PX + line * _LINE_PX
        ink = _softened(letters)
        clean[top : top + ink.shape[0], _MARGIN_PX : _MARGIN_PX + ink.shape[1]] -= (_PAPER - _INK) * ink
    return _to_pixels(_soiled(clean)), _to_pixels(clean)


def digits() -> Pixels:
    """Return the ten digits, clean and white on black: (10, 28, 28, 1) uint8."""
    found = np.zeros((10, DIGIT_PX, DIGIT_PX, 1))
    for value in range(10):
        found[value, 4:24, 8:20, 0] = _glyph(str(value), 4)
        found[value, ..., 0] = _softened(found[value, ..., 0])
    return _to_pixels(found)


def _glyph(letter: str, scale: int) -> Float64:
    rows = _ROWS[letter].split()
    marks = np.array([[mark == "#" for mark in row] for row in rows], np.float64)
    return marks.repeat(scale, axis=0).repeat(scale, axis=1)


def _soiled(clean: Float64) -> Float64:
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[: clean.shape[0], : clean.shape[1]]
    radius = np.hypot(rows - 105, columns - 120)
    stain = 0.3 * np.exp(-(((radius - 58) / 5) ** 2)) + 0.13 * (radius < 56)
    fold = 0.25 * np.exp(-(((rows - 0.2 * columns - 70) / 2) ** 2)) + 0.2 * np.exp(-(((columns - 60) / 2.5) ** 2))
    yellowed = 0.1 + 0.06 * np.sin(rows / 31) * np.cos(columns / 23)
    return np.asarray(clean * (1 - stain) * (1 - fold) * (1 - yellowed) + rng.normal(0, 0.03, clean.shape))


def _softened(image: Float64) -> Float64:
    """Blur by (1, 2, 1) / 4 along both axes, as a scanner does."""
    for axis in (0, 1):
        image = np.asarray((np.roll(image, 1, axis) + 2 * image + np.roll(image, -1, axis)) / 4)
    return image


def _to_pixels(image: Float64) -> Pixels:
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
