"""Images from .npz and .npy files."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from pathlib import Path

import numpy as np

from dae_runtime.pixels.array_files import check_array_file
from dae_runtime.system.paths import reason_of

from ..errors import DataError
from .image_set import ImageSet, Pixels, check_pixels, to_channels

_LAYOUT = "`images`, or `x_train` with optional `x_test`, `y_train`, `y_test`"


def read(path: Path, channels: int | None, limit: int | None) -> tuple[ImageSet, ImageSet | None, str]:
    """Read images (N, H, W) or (N, H, W, C) of uint8, uint16, or float32 in [0, 1].

    Args:
        path: An .npy file with one array, or an .npz file with `images`, or with `x_train` and optionally `x_test`,
            `y_train` and `y_test`.
        channels: 1 or 3; None: those of the training images. Test images are converted to the same.
        limit: Use only the first `limit` training images.

    Returns:
        The training images, the test images or None, and the file's SHA-256.

    Raises:
        DataError: The file cannot be read, or has another layout.
    """
    arrays = read_arrays(path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    name = "images" if "images" in arrays else "x_train"
    if name not in arrays:
        raise DataError(f"{path}: expected {_LAYOUT}; found {', '.join(arrays) or 'nothing'}.")
    train = from_arrays(arrays, name, str(path), channels, limit)
    return train, _test_part(arrays, str(path), train.channels), sha256


def from_arrays(arrays: dict[str, Pixels], name: str, where: str, channels: int | None, limit: int | None) -> ImageSet:
    """Return `arrays[name]` as an image set, with the labels of the matching `y_` array if present.

    Raises:
        DataError: Shape, dtype or values of the array are invalid, or the numbers of labels and images differ.
    """
    images = _checked(arrays[name], f"{where}: {name}", channels)
    labels = arrays.get(name.replace("x_", "y_", 1)) if name.startswith("x_") else None
    if labels is not None and labels.size != len(images):
        raise DataError(f"{where}: expected one label for each of {len(images)} images; received shape {labels.shape}.")
    return ImageSet(images[:limit], None, None if labels is None else labels.ravel()[:limit])


def _test_part(arrays: dict[str, Pixels], where: str, channels: int) -> ImageSet | None:
    return from_arrays(arrays, "x_test", where, channels, None) if "x_test" in arrays else None


def read_arrays(path: Path) -> dict[str, Pixels]:
    """Return the arrays of an .npz file by name; the array of an .npy file is called `images`.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        check_array_file(path)
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"images": loaded}
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {reason_of(error)}. Expected an array file with {_LAYOUT}.") from error


def _checked(images: Pixels, name: str, channels: int | None) -> Pixels:
    if images.ndim == 3 and images.shape[2] in (3, 4):
        raise DataError(
            f"{name}: expected the shape (N, H, W) or (N, H, W, C) with C 1 or 3; received {images.shape}, which looks like "
            "one color picture. Save pictures as (N, H, W, 3), one as (1, H, W, 3); gray images so narrow as (N, H, W, 1)."
        )
    shaped = images[..., np.newaxis] if images.ndim == 3 else images
    if shaped.ndim != 4 or shaped.shape[3] not in (1, 3) or shaped.size == 0:
        raise DataError(f"{name}: expected the shape (N, H, W) or (N, H, W, C) with C 1 or 3; received {images.shape}.")
    return to_channels(check_pixels(shaped, name), channels or shaped.shape[3])
