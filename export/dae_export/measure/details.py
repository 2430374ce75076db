"""Details of a comparison for the report: SSIM, the worst pixels, and images to draw."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from dae_runtime.pixels.arrays import FloatArray
from dae_runtime.pixels.metrics import ssim

Stack = Mapping[str, FloatArray]
"""Versions of the same images, (N, H, W, C) in [0, 1]: `noisy`, `fp32`, `file` and, if available, `clean`."""

IMAGES = ("noisy", "fp32", "file")
SSIM_PIXELS = 2**21
"""SSIM is slow: it uses images of at most this many pixels in total, but at least one."""
WORST_PIXELS = 3
CROP_PX = 33
LARGEST_SIDE_PX = 256
"""Larger images are cropped to the center."""
SHEET_SIDE_PX = 64
"""Images up to this size are shown on one sheet."""
SHEET_IMAGES = 16
SEPARATE_IMAGES = 2


@dataclass(frozen=True)
class WorstPixel:
    """The pixel of an image with the largest difference from float32."""

    image: int
    """Index of the sample."""
    row: int
    column: int
    difference: float
    """Maximum over channels, in 8-bit steps."""
    values: Mapping[str, tuple[float, ...]]
    """Channel values in 8-bit steps, by `noisy`, `fp32`, `file` and, if available, `clean`."""
    crop: Stack = field(repr=False)
    crop_row: int
    """Row of the pixel in `crop`."""
    crop_column: int


@dataclass(frozen=True)
class Details:
    """Details of a comparison; empty unless requested."""

    source: str = ""
    """Source of the samples, for people."""
    ssim: Mapping[str, float] = field(default_factory=dict)
    """Mean SSIM of `noisy`, `fp32` and `file` over `ssim_samples` images; empty without clean images."""
    ssim_samples: int = 0
    worst: tuple[WorstPixel, ...] = ()
    """The worst pixels of the worst images."""
    shown: tuple[Stack, ...] = field(default=(), repr=False)
    """The first images, cropped for display."""


class DetailsCollector:
    """Collects details batch by batch."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._ssim: dict[str, list[float]] = {name: [] for name in IMAGES}
        self._worst: list[tuple[float, int, Stack]] = []  # a heap: smallest difference first
        self._images = 0
        self._shown: tuple[Stack, ...] = ()

    def add(self, stack: Stack) -> None:
        """Add a batch."""
        self._shown = self._shown or tuple(for_display(stack))
        if "clean" in stack:
            self._add_ssim(stack)
        for index in range(len(stack["noisy"])):
            self._add_worst({name: images[index : index + 1] for name, images in stack.items()})

    def details(self) -> Details:
        """Return the collected details."""
        counted = len(self._ssim["file"])
        means = {name: float(np.mean(values)) for name, values in self._ssim.items()} if counted else {}
        worst = tuple(_worst_pixel(-number, image) for _, number, image in sorted(self._worst, reverse=True))
        return Details(self._source, means, counted, worst, self._shown)

    def _add_ssim(self, stack: Stack) -> None:
        pixels = stack["noisy"].shape[1] * stack["noisy"].shape[2]
        for index, clean in enumerate(stack["clean"]):
            if self._ssim["file"] and (len(self._ssim["file"]) + 1) * pixels > SSIM_PIXELS:
                return
            for name in IMAGES:
                self._ssim[name].append(ssim(clean, stack[name][index]))

    def _add_worst(self, image: Stack) -> None:
        difference = float(np.abs(image["file"] - image["fp32"]).max())
        if len(self._worst) < WORST_PIXELS or difference > self._worst[0][0]:
            heapq.heappush(self._worst, (difference, -self._images, _copied(image)))  # the number breaks ties
            self._worst = heapq.nlargest(WORST_PIXELS, self._worst)[::-1]  # a sorted list is a heap
        self._images += 1


def for_display(stack: Stack) -> list[Stack]:
    """Return images to draw: one sheet of small images, or the centers of a few large ones."""
    height, width = stack["noisy"].shape[1:3]
    if max(height, width) <= SHEET_SIDE_PX:
        return [_copied({name: images[:SHEET_IMAGES] for name, images in stack.items()})]
    middle = tuple(slice(begin := max(side - LARGEST_SIDE_PX, 0) // 2, begin + LARGEST_SIDE_PX) for side in (height, width))
    chosen = range(min(len(stack["noisy"]), SEPARATE_IMAGES))
    return [_copied({name: images[i : i + 1, middle[0], middle[1]] for name, images in stack.items()}) for i in chosen]


def crop_around(stack: Stack, row: int, column: int) -> tuple[Stack, int, int]:
    """Return a crop of (1, H, W, C) images around a pixel, and the row and column of the pixel in it."""
    height, width = stack["noisy"].shape[1:3]
    top, left = (min(max(at - CROP_PX // 2, 0), max(side - CROP_PX, 0)) for at, side in ((row, height), (column, width)))
    piece = {name: images[:, top : top + CROP_PX, left : left + CROP_PX] for name, images in stack.items()}
    return _copied(piece), row - top, column - left


def _worst_pixel(number: int, image: Stack) -> WorstPixel:
    difference = np.abs(image["file"] - image["fp32"])[0].max(axis=2)
    row, column = divmod(int(difference.argmax()), difference.shape[1])
    values = {name: tuple(255 * float(value) for value in images[0, row, column]) for name, images in image.items()}
    return WorstPixel(number, row, column, 255 * float(difference.max()), values, *crop_around(image, row, column))


def _copied(stack: Stack) -> Stack:
    """Return copies; a view would keep the whole batch in memory."""
    return {name: images.copy() for name, images in stack.items()}
