"""Crops of photographs in one array file, small enough to travel with a checkout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dae_runtime.errors import InputError
from dae_runtime.images import find_images, read_image
from dae_runtime.pixels.arrays import convert
from dae_runtime.system.atomic import atomic_path
from dae_train.data.image_set import to_channels
from dae_train.data.patches import pad_to

Pixels = npt.NDArray[np.uint8]
LARGEST_MIB = 64


def pack(folders: Sequence[Path], destination: Path, channels: int, side_px: int, mib: float, seed: int = 0) -> int:
    """Write crops at random places of the images below folders, as many of each as the size allows, in random order.

    Args:
        folders: Searched recursively.
        destination: The .npy file, (N, side_px, side_px, channels) uint8; replaced if it exists.
        channels: 1 (luma) or 3.
        side_px: Side of the crops; smaller images are padded by reflection.
        mib: Size of the file in MiB.
        seed: Determines places and order.

    Returns:
        The number of crops.

    Raises:
        InputError: There are no images, or the size does not hold two crops.
        ImageError: An image cannot be read.
    """
    paths = [path for folder in folders for path in find_images(folder, recursive=True)]
    count = int(mib * 2**20) // (side_px * side_px * channels)
    if not paths:
        raise InputError(f"{', '.join(map(str, folders))}: expected folders of images; found none.")
    if count < 2:
        raise InputError(f"{mib:g} MiB hold {count} crops of {side_px} pixels; at least 2 are needed. Give a smaller --side.")
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(paths))
    ends = np.arange(len(paths) + 1) * count // len(paths)
    crops = np.empty((count, side_px, side_px, channels), np.uint8)
    for number, index in enumerate(order):
        start, end = ends[number : number + 2]
        if end > start:
            crops[start:end] = list(_crops(_read(paths[index], channels), side_px, end - start, rng))
    with atomic_path(destination) as temporary:
        np.save(temporary, rng.permutation(crops), allow_pickle=False)
    return count


def _read(path: Path, channels: int) -> Pixels:
    pixels = convert(read_image(path).pixels, np.uint8)
    return to_channels(pixels if pixels.ndim == 3 else pixels[..., np.newaxis], channels)


def _crops(image: Pixels, side_px: int, count: int, rng: np.random.Generator) -> Iterator[Pixels]:
    image = pad_to(image, (side_px, side_px))
    for _ in range(count):
        top, left = (int(rng.integers(length - side_px + 1)) for length in image.shape[:2])
        yield image[top : top + side_px, left : left + side_px]
