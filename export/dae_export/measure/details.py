"""What a report shows of a comparison beside its figures: structural similarity, the worst pixels, and pieces to draw."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from dae_runtime.pixels.arrays import FloatArray
from dae_runtime.pixels.metrics import ssim

Stack = Mapping[str, FloatArray]
"""The same images, (N, H, W, C) in [0, 1] each: `noisy`, `fp32`, `file` and, where it is known, `clean`."""

IMAGES = ("noisy", "fp32", "file")
SSIM_PIXELS = 2**21
"""SSIM takes long: no more images are measured by it than make up these pixels, but one at least."""
WORST_PIXELS = 3
CROP_PX = 33
LARGEST_SIDE_PX = 256
"""Larger images show their middle."""
SHEET_SIDE_PX = 64
"""Images up to this size are shown together on one sheet."""
SHEET_IMAGES = 16
SEPARATE_IMAGES = 2


@dataclass(frozen=True)
class WorstPixel:
    """The pixel of one image where a file is furthest from float32."""

    image: int
    """Number of the image among the samples, from 0."""
    row: int
    column: int
    difference: float
    """Largest over the channels, in steps of 8 bits."""
    values: Mapping[str, tuple[float, ...]]
    """Of the channels in steps of 8 bits, by `noisy`, `fp32`, `file` and, where it is known, `clean`."""
    crop: Stack = field(repr=False)
    crop_row: int
    """Where the pixel is in `crop`."""
    crop_column: int


@dataclass(frozen=True)
class Details:
    """What a report shows of a comparison; nothing unless it was asked for."""

    source: str = ""
    """Where the samples come from, in words for people."""
    ssim: Mapping[str, float] = field(default_factory=dict)
    """Of `noisy`, `fp32` and `file`, the mean over `ssim_samples` images; empty without clean images."""
    ssim_samples: int = 0
    worst: tuple[WorstPixel, ...] = ()
    """The worst pixels of the worst images."""
    shown: tuple[Stack, ...] = field(default=(), repr=False)
    """The first images, cut to what a page shows."""


class DetailsOf:
    """Collects details, batch by batch."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._ssim: dict[str, list[float]] = {name: [] for name in IMAGES}
        self._worst: list[tuple[float, int, Stack]] = []  # a heap: the least bad image first
        self._images = 0
        self._shown: tuple[Stack, ...] = ()

    def add(self, stack: Stack) -> None:
        """Look at a batch."""
        self._shown = self._shown or tuple(for_display(stack))
        if "clean" in stack:
            self._add_ssim(stack)
        for index in range(len(stack["noisy"])):
            self._add_worst({name: images[index : index + 1] for name, images in stack.items()})

    def details(self) -> Details:
        """Return what was collected."""
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
            heapq.heappush(self._worst, (difference, -self._images, _copied(image)))  # the number decides between equal ones
            self._worst = heapq.nlargest(WORST_PIXELS, self._worst)[::-1]  # sorted is a heap too
        self._images += 1


def for_display(stack: Stack) -> list[Stack]:
    """Return what to draw of (N, H, W, C) images: one sheet of small ones, or the middles of a few large ones, one by one."""
    height, width = stack["noisy"].shape[1:3]
    if max(height, width) <= SHEET_SIDE_PX:
        return [_copied({name: images[:SHEET_IMAGES] for name, images in stack.items()})]
    middle = tuple(slice(begin := max(side - LARGEST_SIDE_PX, 0) // 2, begin + LARGEST_SIDE_PX) for side in (height, width))
    chosen = range(min(len(stack["noisy"]), SEPARATE_IMAGES))
    return [_copied({name: images[i : i + 1, middle[0], middle[1]] for name, images in stack.items()}) for i in chosen]


def crop_around(stack: Stack, row: int, column: int) -> tuple[Stack, int, int]:
    """Cut the neighborhood of a pixel out of (1, H, W, C) images; return it with the pixel's row and column in it."""
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
    """Return copies: a view would keep the whole batch alive."""
    return {name: images.copy() for name, images in stack.items()}
