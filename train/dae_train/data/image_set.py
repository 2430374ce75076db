"""Images in memory, as every source of training data returns them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dae_runtime.pixels.arrays import convert

from ..errors import DataError

Pixels = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float32]
Images = Sequence[Pixels] | Pixels
"""Arrays (H, W, C), or one array (N, H, W, C)."""

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


@dataclass(frozen=True)
class ImageSet:
    """Clean images, and their noisy counterparts if the data has them."""

    clean: Images
    """Arrays (H, W, C), or one array (N, H, W, C); uint8, uint16, or float32 in [0, 1]."""
    noisy: Images | None = None
    """Noisy images of the same sizes in the same order; None: noise is added in training."""
    labels: npt.NDArray[Any] | None = None
    """(N,) classes, used for latent space plots only."""
    names: Sequence[str] | None = None
    """Relative paths of the files, with `/`; None without files."""

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.clean)

    @property
    def sizes(self) -> set[tuple[int, int]]:
        """All (height, width) in pixels."""
        if isinstance(self.clean, np.ndarray):
            return {self.clean.shape[1:3]}
        return {image.shape[:2] for image in self.clean}

    @property
    def channels(self) -> int:
        """Number of channels, the same in all images."""
        return int(self.clean[0].shape[2])

    def select(self, indices: npt.NDArray[np.int64]) -> ImageSet:
        """Return the images at these indices, in this order."""
        labels = None if self.labels is None else self.labels[indices]
        noisy = None if self.noisy is None else _select(self.noisy, indices)
        names = None if self.names is None else [self.names[index] for index in indices]
        return ImageSet(_select(self.clean, indices), noisy, labels, names)

    def split(self, fraction: float, seed: int, groups: npt.NDArray[np.int64] | None = None) -> tuple[ImageSet, ImageSet]:
        """Return a random split into training and validation images, at least one of the latter.

        Args:
            fraction: Fraction for validation, as close as whole groups allow.
            seed: Determines the split.
            groups: (N,) group numbers; groups are not split. None: each image is a group.

        Raises:
            DataError: There are fewer than two images, or fewer than two groups.
        """
        members = np.arange(len(self)) if groups is None else np.unique(groups, return_inverse=True)[1]
        count = int(members.max()) + 1 if len(members) else 0
        if count < 2:
            what = "images" if groups is None else "groups of images"
            raise DataError(f"training needs at least 2 {what}, one of them for validation; received {count}.")
        order = np.random.default_rng([seed, 0]).permutation(count)
        held = np.cumsum(np.bincount(members)[order])[:-1]
        last = int(np.argmin(np.abs(held - max(1, round(fraction * len(self))))))
        rank = np.argsort(order)[members]
        images = np.argsort(rank, kind="stable")
        validation = rank[images] <= last
        return self.select(images[~validation]), self.select(images[validation])


@dataclass(frozen=True)
class Dataset:
    """The images of a source."""

    train: ImageSet
    validation: ImageSet
    test: ImageSet | None
    """The official test split, if any; used only when a run ends."""
    sha256: str
    """Digest of the images."""


def to_unit(pixels: Pixels) -> FloatArray:
    """Return pixels as float32 in [0, 1]: uint8 divided by 255, uint16 by 65535, float32 unchanged and not copied."""
    return convert(pixels, np.float32)


def check_pixels(pixels: Pixels, name: str) -> Pixels:
    """Return an array of images as uint8, uint16 or float32 (float64 is converted).

    Args:
        pixels: Any array.
        name: Name in error messages.

    Raises:
        DataError: The dtype is another, or float values lie outside [0, 1].
    """
    if pixels.dtype in (np.uint8, np.uint16):
        return pixels
    if pixels.dtype not in (np.float32, np.float64):
        raise DataError(f"{name}: expected uint8, uint16, or float32 in [0, 1]; received {pixels.dtype}.")
    low, high = (float(pixels.min()), float(pixels.max())) if pixels.size else (0.0, 0.0)
    if not (low >= 0 and high <= 1):  # also true of nan
        raise DataError(f"{name}: {pixels.dtype} values must lie in [0, 1]; received {low:g} to {high:g}. Scale them.")
    return pixels.astype(np.float32, copy=False)


def to_channels(pixels: Pixels, channels: int) -> Pixels:
    """Return (..., C) pixels with 1 or 3 channels and the same dtype; gray is BT.601 luma.

    Args:
        pixels: 1 or 3 channels, or 2 or 4 with alpha last, which is dropped.
        channels: 1 or 3.
    """
    opaque = pixels[..., :-1] if pixels.shape[-1] in (2, 4) else pixels
    if opaque.shape[-1] == channels:
        return opaque
    if channels == 3:
        return np.repeat(opaque, 3, axis=-1)
    gray = (opaque @ _LUMA)[..., np.newaxis]
    gray = gray if pixels.dtype.kind == "f" else np.rint(gray)
    result: Pixels = gray.astype(pixels.dtype)
    return result


def array_digest(arrays: Iterable[Pixels]) -> str:
    """Return the SHA-256 of shapes, dtypes and values, in hexadecimal."""
    total = hashlib.sha256()
    for array in arrays:
        total.update(f"{array.shape}{array.dtype.str}".encode())
        total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()


def _select(images: Images, indices: npt.NDArray[np.int64]) -> Images:
    if isinstance(images, np.ndarray):
        return images[indices]
    return [images[index] for index in indices]
