"""The comparison of a report: noisy, float32, this file and clean, in figures, in pictures, and at the worst pixels."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from dae_runtime.engine.session import open_session
from dae_runtime.pixels.metrics import psnr_of_mse, ssim

from ..measure.quality import LARGEST_PSNR_DB
from ..measure.running import run_on_floats
from ..measure.samples import Samples
from .pictures import Picture, Stack, crop_around, draw, for_display

SSIM_PIXELS = 2**21
"""SSIM takes long: no more images are measured by it than make up these pixels, but one at least."""
WORST_PIXELS = 3
IMAGES = ("noisy", "fp32", "file")


@dataclass(frozen=True)
class WorstPixel:
    """The pixel of one image where this file is furthest from float32."""

    image: int
    """Number of the image among the samples, from 0."""
    row: int
    column: int
    difference: float
    """Largest over the channels, in steps of 8 bits."""
    values: Mapping[str, tuple[float, ...]]
    """Of the channels in steps of 8 bits, by `noisy`, `fp32`, `file` and, where it is known, `clean`."""
    crop: Picture
    crop_row: int
    """Where the pixel is in `crop`."""
    crop_column: int


@dataclass(frozen=True)
class Comparison:
    """How this file differs from float32 on samples. Outputs are clipped to [0, 1]."""

    samples: int
    source: str
    psnr_db: Mapping[str, float]
    """Of `noisy`, `fp32` and `file`, from the mean squared error over all samples; empty without clean images."""
    ssim: Mapping[str, float]
    """Likewise, the mean over `ssim_samples` images."""
    ssim_samples: int
    agreement_db: float
    """PSNR of this file against float32."""
    color_shift: tuple[float, ...]
    """Mean of this file minus mean of float32 by channel, in steps of 8 bits."""
    worst: tuple[WorstPixel, ...]
    """The worst pixels of the worst images."""
    pictures: tuple[Picture, ...]


def compare(fp32: bytes, written: bytes, samples: Samples) -> Comparison:
    """Run both models on all test samples.

    Args:
        fp32: Content of the float32 file.
        written: Content of the file to compare, of either kind of edge.
        samples: Their test part is used, batch by batch.
    """
    figures, worst, pictures = _Figures(), _Worst(), list[Picture]()
    for stack in _stacks(fp32, written, samples):
        pictures = pictures or [draw(part) for part in for_display(stack)]
        worst.add(stack)
        figures.add(stack)
    return Comparison(
        samples=figures.images,
        source=samples.source,
        psnr_db={name: figures.psnr_db(name) for name in IMAGES} if figures.has_clean else {},
        ssim={name: float(np.mean(figures.ssim[name])) for name in IMAGES} if figures.has_clean else {},
        ssim_samples=len(figures.ssim["file"]),
        agreement_db=figures.psnr_db("between"),
        color_shift=tuple(float(255 * shift / figures.pixels) for shift in np.atleast_1d(figures.shift)),
        worst=worst.pixels(),
        pictures=tuple(pictures),
    )


def _stacks(fp32: bytes, written: bytes, samples: Samples) -> Iterator[Stack]:
    sessions = {"fp32": open_session(fp32), "file": open_session(written)}
    clean_batches = iter(samples.clean) if samples.clean else None
    for noisy in samples.test:
        stack = {"noisy": noisy}
        for name, session in sessions.items():
            stack[name] = np.clip(run_on_floats(session, noisy), 0, 1)
        if clean_batches:
            stack["clean"] = next(clean_batches)
        yield stack


class _Figures:
    """Sums over batches, in double precision."""

    def __init__(self) -> None:
        self.squares = dict.fromkeys((*IMAGES, "between"), 0.0)
        self.shift: np.ndarray[tuple[int, ...], np.dtype[np.float64]] = np.zeros(())
        self.ssim: dict[str, list[float]] = {name: [] for name in IMAGES}
        self.images = self.pixels = self.values = 0
        self.has_clean = False

    def add(self, stack: Stack) -> None:
        self.shift = self.shift + np.sum(stack["file"].astype(np.float64) - stack["fp32"], axis=(0, 1, 2))
        self._add("between", stack, "fp32", "file")
        if "clean" in stack:
            self.has_clean = True
            for name in IMAGES:
                self._add(name, stack, "clean", name)
            self._add_ssim(stack)
        self.images += len(stack["noisy"])
        self.values += stack["noisy"].size
        self.pixels += stack["noisy"][..., 0].size

    def psnr_db(self, name: str) -> float:
        return psnr_of_mse(self.squares[name] / self.values, largest_db=LARGEST_PSNR_DB)

    def _add(self, name: str, stack: Stack, first: str, second: str) -> None:
        self.squares[name] += float(np.sum(np.square(stack[first].astype(np.float64) - stack[second])))

    def _add_ssim(self, stack: Stack) -> None:
        pixels = stack["noisy"].shape[1] * stack["noisy"].shape[2]
        for index, clean in enumerate(stack["clean"]):
            if self.ssim["file"] and (len(self.ssim["file"]) + 1) * pixels > SSIM_PIXELS:
                return
            for name in IMAGES:
                self.ssim[name].append(ssim(clean, stack[name][index]))


class _Worst:
    """The images where this file and float32 are furthest apart, with the pixel where they are."""

    def __init__(self) -> None:
        self.found: list[tuple[float, int, Stack]] = []  # a heap: the least bad image first
        self.images = 0

    def add(self, stack: Stack) -> None:
        for index in range(len(stack["noisy"])):
            image = {name: images[index : index + 1] for name, images in stack.items()}
            difference = float(np.abs(image["file"] - image["fp32"]).max())
            if len(self.found) < WORST_PIXELS or difference > self.found[0][0]:
                kept = {name: piece.copy() for name, piece in image.items()}  # a view would keep the whole batch alive
                heapq.heappush(self.found, (difference, -self.images, kept))  # the number decides between equal ones
                self.found = heapq.nlargest(WORST_PIXELS, self.found)[::-1]  # sorted is a heap too
            self.images += 1

    def pixels(self) -> tuple[WorstPixel, ...]:
        return tuple(_worst_pixel(-number, image) for _, number, image in sorted(self.found, reverse=True))


def _worst_pixel(number: int, image: Stack) -> WorstPixel:
    difference = np.abs(image["file"] - image["fp32"])[0].max(axis=2)
    row, column = divmod(int(difference.argmax()), difference.shape[1])
    crop, crop_row, crop_column = crop_around(image, row, column)
    return WorstPixel(
        image=number,
        row=row,
        column=column,
        difference=255 * float(difference.max()),
        values={name: tuple(255 * float(value) for value in images[0, row, column]) for name, images in image.items()},
        crop=draw(crop),
        crop_row=crop_row,
        crop_column=crop_column,
    )
