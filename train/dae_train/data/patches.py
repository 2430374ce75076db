"""Pieces of images, all of one size, as networks want them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..errors import DataError
from ..settings.networks import Architecture
from .image_set import FloatArray, Images, ImageSet, Pixels, to_unit

WHOLE_UP_TO_PX = 64
DEFAULT_PATCH_PX = 64
Size = tuple[int, int]
"""(height, width) in pixels."""
Places = npt.NDArray[np.int32]
"""(N, 4): image, row and column of the top left pixel, and symmetry of each patch; see `turn`."""
SYMMETRIES = 8
"""Of a square; the first half of them keep the shape of any rectangle."""


def choose_patch(wanted_px: int | None, network: Architecture, sizes: set[Size]) -> Size:
    """Return the size of the pieces to train on.

    Args:
        wanted_px: Side of square crops, or None: whole images if they are all of one size up to 64 pixels, else 64.
        network: A network of fixed size decides the patch itself; others want a multiple of their alignment.
        sizes: The sizes of the images.

    Raises:
        DataError: The wanted size, or that of the whole images, does not fit the network.
    """
    if network.image_px is not None:
        if wanted_px not in (None, network.image_px):
            raise DataError(
                f"a network of fixed size ({network.preset}, {network.image_px} pixels) cannot train on patches of "
                f"{wanted_px} pixels. Leave the patch size out, or set model.image_px."
            )
        return network.image_px, network.image_px
    alignment = network.alignment_px
    if wanted_px is not None:
        _check_alignment((wanted_px, wanted_px), alignment, "a patch")
        return wanted_px, wanted_px
    only = next(iter(sizes))
    if len(sizes) == 1 and max(only) <= WHOLE_UP_TO_PX:
        _check_alignment(only, alignment, "an image")
        return only
    side = math.ceil(DEFAULT_PATCH_PX / alignment) * alignment
    return side, side


def padded(images: ImageSet, patch: Size) -> tuple[ImageSet, int]:
    """Return the images, those smaller than the patch reflected at the bottom and right edge, and how many those are."""
    small = [index for index, image in enumerate(images.clean) if _too_small(image, patch)]
    if not small:
        return images, 0
    clean = [pad_to(image, patch) for image in images.clean]
    noisy = None if images.noisy is None else [pad_to(image, patch) for image in images.noisy]
    return ImageSet(clean, noisy, images.labels, images.names), len(small)


def pad_to(image: Pixels, size: Size) -> Pixels:
    """Return an (H, W, C) image of at least this size, reflected at the bottom and right edge where it was smaller."""
    missing = [(0, max(0, wanted - length)) for wanted, length in zip(size, image.shape[:2], strict=True)]
    return np.pad(image, [*missing, (0, 0)], mode="reflect") if any(after for _, after in missing) else image


def draw_patches(
    images: ImageSet, indices: Sequence[int], patch: Size, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Cut one patch at a random place out of each of some images; see `draw_places` and `cut`."""
    return cut(images, draw_places(images, np.asarray(indices), patch, rng, turned=False), patch)


def draw_places(
    images: ImageSet, indices: npt.NDArray[np.int64], patch: Size, rng: np.random.Generator, turned: bool
) -> Places:
    """Choose one patch at a random place out of each of some images.

    Args:
        images: None of them smaller than the patch.
        indices: (N,) which images.
        patch: Size of the patches.
        rng: Decides the places.
        turned: Whether the patches are turned and mirrored too.
    """
    sizes = np.array([images.clean[index].shape[:2] for index in indices], np.int64)
    corners = rng.integers(sizes - patch + 1)
    ways = (SYMMETRIES if patch[0] == patch[1] else SYMMETRIES // 2) if turned else 1
    return np.column_stack([indices, corners, rng.integers(ways, size=len(indices))]).astype(np.int32)


def cut(images: ImageSet, places: Places, patch: Size) -> tuple[FloatArray, FloatArray]:
    """Cut patches out of images.

    Returns:
        Two float32 arrays (N, H, W, C) in [0, 1]: what the network gets before noise is drawn (the noisy patches of pairs,
        else the clean ones), and the clean patches.
    """
    clean = _cut(images.clean, places, patch)
    return (clean if images.noisy is None else _cut(images.noisy, places, patch)), clean


def _cut(images: Images, places: Places, patch: Size) -> FloatArray:
    if isinstance(images, np.ndarray) and images.shape[1:3] == patch and not places[:, 3].any():
        return to_unit(images[places[:, 0]])
    height, width = patch
    pieces = [
        to_unit(turn(images[index][row : row + height, column : column + width], symmetry))
        for index, row, column, symmetry in places.tolist()
    ]
    return np.stack(pieces)


def turn(image: Pixels, symmetry: int) -> Pixels:
    """Return one of the symmetries of an (H, W, C) image as a view: bit 2 transposes, then bit 1 turns it upside down and
    bit 0 mirrors it left to right.
    """
    image = image.swapaxes(0, 1) if symmetry & 4 else image
    return image[:: -1 if symmetry & 2 else 1, :: -1 if symmetry & 1 else 1]


def _too_small(image: Pixels, patch: Size) -> bool:
    height, width = image.shape[:2]
    return bool(height < patch[0] or width < patch[1])


def _check_alignment(size: Size, alignment: int, what: str) -> None:
    if any(side % alignment for side in size):
        fitting = max(alignment, min(size) // alignment * alignment)
        raise DataError(
            f"{what} of {size[1]}x{size[0]} pixels does not fit: height and width must be multiples of {alignment}. "
            f"Use --patch-size {fitting}."
        )
