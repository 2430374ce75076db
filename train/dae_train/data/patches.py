"""Image patches of one size, the input of training."""

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
"""(N, 4): image, row and column of the top left pixel, and symmetry of each patch; see `apply_symmetry`."""
SYMMETRIES = 8
"""Number for a square; the first half of them keep the shape of a rectangle."""


def choose_patch(wanted_px: int | None, network: Architecture, sizes: set[Size]) -> Size:
    """Return the patch size for training.

    Args:
        wanted_px: Side of square crops. None: whole images if all have one size up to 64 pixels, else 64.
        network: A network of fixed size determines the patch; others need a multiple of their alignment.
        sizes: The sizes of the images.

    Raises:
        DataError: The requested size, or that of the whole images, does not fit the network.
    """
    if network.image_px is not None:
        if wanted_px not in (None, network.image_px):
            raise DataError(
                f"a network of fixed size ({network.preset}, {network.image_px} pixels) cannot train on patches of "
                f"{wanted_px} pixels. Omit the patch size, or set model.image_px."
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
    """Return the images, padded by reflection to at least the patch size, and the number of padded images."""
    small = [index for index, image in enumerate(images.clean) if _too_small(image, patch)]
    if not small:
        return images, 0
    clean = [pad_to(image, patch) for image in images.clean]
    noisy = None if images.noisy is None else [pad_to(image, patch) for image in images.noisy]
    return ImageSet(clean, noisy, images.labels, images.names), len(small)


def pad_to(image: Pixels, size: Size) -> Pixels:
    """Return an (H, W, C) image padded by reflection at the bottom and right to at least this size."""
    missing = [(0, max(0, wanted - length)) for wanted, length in zip(size, image.shape[:2], strict=True)]
    return np.pad(image, [*missing, (0, 0)], mode="reflect") if any(after for _, after in missing) else image


def draw_patches(
    images: ImageSet, indices: Sequence[int], patch: Size, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Cut one patch at a random position from each of the images; see `draw_places` and `cut`."""
    return cut(images, draw_places(images, np.asarray(indices), patch, rng, turned=False), patch)


def draw_places(
    images: ImageSet, indices: npt.NDArray[np.int64], patch: Size, rng: np.random.Generator, turned: bool
) -> Places:
    """Sample the position of one patch in each of the images.

    Args:
        images: Each at least as large as the patch.
        indices: (N,) image indices.
        patch: Patch size.
        rng: Random generator.
        turned: Whether to sample rotations and flips too.
    """
    sizes = np.array([images.clean[index].shape[:2] for index in indices], np.int64)
    corners = rng.integers(sizes - patch + 1)
    symmetries = (SYMMETRIES if patch[0] == patch[1] else SYMMETRIES // 2) if turned else 1
    return np.column_stack([indices, corners, rng.integers(symmetries, size=len(indices))]).astype(np.int32)


def cut(images: ImageSet, places: Places, patch: Size) -> tuple[FloatArray, FloatArray]:
    """Cut patches from images.

    Returns:
        Two float32 arrays (N, H, W, C) in [0, 1]: the network input before noise is added (the noisy patches of pairs, else
        the clean ones), and the clean patches.
    """
    clean = _cut(images.clean, places, patch)
    return (clean if images.noisy is None else _cut(images.noisy, places, patch)), clean


def _cut(images: Images, places: Places, patch: Size) -> FloatArray:
    if isinstance(images, np.ndarray) and images.shape[1:3] == patch and not places[:, 3].any():
        return to_unit(images[places[:, 0]])
    height, width = patch
    pieces = [
        to_unit(apply_symmetry(images[index][row : row + height, column : column + width], symmetry))
        for index, row, column, symmetry in places.tolist()
    ]
    return np.stack(pieces)


def apply_symmetry(image: Pixels, symmetry: int) -> Pixels:
    """Return a symmetry of an (H, W, C) image as a view: bit 2 transposes, then bit 1 flips rows, bit 0 columns."""
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
