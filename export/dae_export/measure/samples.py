"""Noisy images for calibration and test, read batch by batch."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dae_runtime.contract import ImageSpec, SigmaInput
from dae_runtime.images import find_images, read_image
from dae_runtime.pixels.array_files import check_array_file
from dae_runtime.pixels.arrays import Array, FloatArray, convert
from dae_runtime.system.paths import is_file, is_folder, reason_of

from ..errors import CalibrationError
from .batches import Batch, Leveled, spread
from .parity import noisy_images

ARRAYS = ("noisy", "clean", "sigma", "test_noisy", "test_clean", "test_sigma")
ARRAY_SUFFIXES = (".npz", ".npy")
BATCH_SIZE = 16
LARGEST_SIDE_PX = 512
"""Larger images are cropped: calibration keeps the activations of a batch in memory."""
SYNTHETIC_SIDE_PX = 64
HELD_OUT = 4
"""Without test samples, every n-th sample is held out for test."""


@dataclass(frozen=True)
class Batches:
    """Images in batches of one shape each; every iteration reads them again."""

    count: int
    """Number of images."""
    read: Callable[[], Iterator[Batch]]
    """Returns an iterator over (N, H, W, C) float32, nominally in [0, 1], with noise levels for a model that takes them."""

    def __iter__(self) -> Iterator[Batch]:
        return self.read()


@dataclass(frozen=True)
class Samples:
    """Calibration and test samples of a model."""

    calibration: Batches
    test: Batches
    """Noisy images not used for calibration."""
    clean: Batches | None
    """References of `test` in the same order and batches, if available."""
    source: str
    """Source, for people."""


def fit(pixels: Array, images: ImageSpec) -> FloatArray:
    """Crop (N, H, W, C) pixels to the center, and pad by reflection where too small for a model.

    Args:
        pixels: Of any image dtype; not modified.
        images: Images that the model accepts.

    Returns:
        Float32 of a size that the model accepts, at most `LARGEST_SIDE_PX` unless its size is fixed.
    """
    pixels = _as_float(pixels)
    for axis in (1, 2):
        wanted = images.size_near(min(pixels.shape[axis], LARGEST_SIDE_PX))[axis - 1]
        begin = max(pixels.shape[axis] - wanted, 0) // 2
        pixels = pixels.take(range(begin, min(begin + wanted, pixels.shape[axis])), axis=axis)
        missing = [(0, wanted - pixels.shape[axis] if a == axis else 0) for a in range(4)]
        pixels = np.pad(pixels, missing, mode="reflect")
    return np.ascontiguousarray(pixels)


def synthetic_samples(images: ImageSpec, levels: SigmaInput | None = None) -> Samples:
    """Return synthetic images without clean references, with noise levels spread over `levels` if given."""
    noisy = noisy_images((BATCH_SIZE, *images.size_near(SYNTHETIC_SIDE_PX), images.channels))
    batch = noisy if levels is None else Leveled(noisy, spread(levels, len(noisy)))
    batches = Batches(len(noisy), lambda: iter([batch]))
    return Samples(batches, batches, None, "synthetic images")


def check_samples_path(path: Path) -> None:
    """Check that `path` may contain samples, without reading them.

    Raises:
        CalibrationError: It does not exist, or is neither a folder nor an array file.
    """
    if is_folder(path) or (is_file(path) and path.suffix in ARRAY_SUFFIXES):
        return
    received = "received a file of another kind" if is_file(path) else "it does not exist"
    raise CalibrationError(
        f"{path}: expected a folder of noisy images, or an .npz or .npy file; {received}. Give another --calibration-data."
    )


def read_levels(path: Path) -> FloatArray | None:
    """Return the noise levels in an .npz file of samples, (N, 1); None if it has none, or is a folder.

    Raises:
        CalibrationError: The file cannot be read.
    """
    arrays = {} if is_folder(path) else _read_arrays(path)
    found = [arrays[name].reshape(-1, 1) for name in ("sigma", "test_sigma") if name in arrays]
    return np.concatenate(found).astype(np.float32) if found else None


def load_samples(path: str | os.PathLike[str], images: ImageSpec, levels: SigmaInput | None = None) -> Samples:
    """Open calibration and test samples.

    Args:
        path: An .npz file with `noisy` and optionally `clean`, `test_noisy`, `test_clean`, and `sigma` and `test_sigma`, the
            noise level of each image (N,) or (N, 1), for a model that takes it; an .npy file of noisy images; or a
            folder of noisy image files, searched recursively. Arrays are (N, H, W, C) or (N, H, W): float in [0, 1],
            uint8 or uint16.
        images: Images that the model accepts; samples are cropped or padded to fit.
        levels: The noise levels that the model was trained on; None if it takes none. If the file has no levels, they are
            measured against `clean`; without `clean`, each image is given another level of this range.

    Raises:
        CalibrationError: There are no samples, or they do not fit the model.
        ImageError: An image file cannot be read.
    """
    path = Path(path)
    check_samples_path(path)
    if is_folder(path):
        return _from_folder(path, images, levels)
    arrays = _read_arrays(path)
    given: dict[str, Array] = {name: arrays.pop(name) for name in ("sigma", "test_sigma") if name in arrays}
    arrays = {name: _checked(path, name, array, images) for name, array in arrays.items()}
    if "noisy" not in arrays:
        raise CalibrationError(f"{path}: expected an array named noisy, received {', '.join(arrays) or 'none'}.")
    for noisy, clean in (("noisy", "clean"), ("test_noisy", "test_clean")):
        if clean in arrays and (noisy not in arrays or arrays[noisy].shape != arrays[clean].shape):
            shapes = [arrays[name].shape if name in arrays else None for name in (noisy, clean)]
            raise CalibrationError(f"{path}: expected {noisy} and {clean} of one shape, received {shapes[0]} and {shapes[1]}.")
    if levels is not None:
        arrays |= {
            f"{part}sigma": _levels(path, part, arrays, given.get(f"{part}sigma"), levels)
            for part in ("", "test_")
            if f"{part}noisy" in arrays
        }
    calibrating: Sequence[int] = range(len(arrays["noisy"]))
    testing: Sequence[int] = range(len(arrays.get("test_noisy", ())))
    if "test_noisy" not in arrays:
        calibrating, testing = _split(path, len(arrays["noisy"]))
        arrays |= {f"test_{name}": arrays[name] for name in ("noisy", "clean", "sigma") if name in arrays}
    clean_batches = _from_array(arrays["test_clean"], testing, images) if "test_clean" in arrays else None
    test = _from_array(arrays["test_noisy"], testing, images, arrays.get("test_sigma"))
    calibration = _from_array(arrays["noisy"], calibrating, images, arrays.get("sigma"))
    return Samples(calibration, test, clean_batches, path.name)


def _split(path: Path, count: int) -> tuple[Sequence[int], Sequence[int]]:
    """Return the indices of calibration and test samples, disjoint to avoid an optimistic test."""
    if count < 2:
        raise CalibrationError(f"{path} holds {count} image; INT8 needs at least 2, one of them for test.")
    testing = range(0, count, HELD_OUT)
    return [i for i in range(count) if i not in testing], testing


# --- arrays ------------------------------------------------------------------------------------------------------------


def _read_arrays(path: Path) -> dict[str, Array]:
    try:
        check_array_file(path)
        content = np.load(path)  # never unpickles; not mapped: a mapped file that shrinks ends the process
        if isinstance(content, np.ndarray):
            return {"noisy": content}
        with content:
            return {name: content[name] for name in ARRAYS if name in content}
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise CalibrationError(f"{path} cannot be read as arrays: {reason_of(error)}. Write it with numpy.savez.") from error


def _checked(path: Path, name: str, array: Array, images: ImageSpec) -> Array:
    array = array[..., None] if array.ndim == 3 else array
    number = np.issubdtype(array.dtype, np.floating) or array.dtype in (np.uint8, np.uint16)
    if not number or array.ndim != 4 or array.size == 0 or array.shape[3] != images.channels:
        raise CalibrationError(
            f"{path}: {name} must be (N, H, W, {images.channels}), float in [0, 1], uint8 or uint16; "
            f"received {array.dtype} {array.shape}."
        )
    # Unclipped noise slightly exceeds [0, 1]; floats in 0..255 are an error.
    if np.issubdtype(array.dtype, np.floating) and not np.percentile(np.abs(array[:BATCH_SIZE]), 99) < 8:
        raise CalibrationError(f"{path}: {name} must be in [0, 1]; received values up to {np.max(array[:BATCH_SIZE]):g}.")
    return array


def _as_float(pixels: Array) -> FloatArray:
    """Return images in float32, integers scaled to [0, 1]; floats keep their range."""
    return pixels.astype(np.float32, copy=False) if pixels.dtype.kind == "f" else convert(pixels, np.float32)


def _levels(path: Path, part: str, arrays: Mapping[str, Array], given: Array | None, levels: SigmaInput) -> FloatArray:
    """Return the noise level of each image of a part, (N, 1): as the file gives it, or else measured, or else spread."""
    noisy, clean = arrays[f"{part}noisy"], arrays.get(f"{part}clean")
    if given is not None:
        sound = given.size == len(noisy) and np.issubdtype(given.dtype, np.floating)
        if not sound or not np.all((given >= 0) & (given <= 1)):
            raise CalibrationError(
                f"{path}: {part}sigma must be {len(noisy)} numbers from 0 to 1, one for each image of {part}noisy; "
                f"received {given.dtype} {given.shape}."
            )
        return given.reshape(-1, 1).astype(np.float32)
    if clean is None:
        return spread(levels, len(noisy))
    pairs = zip(noisy, clean, strict=True)
    return np.array([[np.sqrt(np.mean(np.square(_as_float(a) - _as_float(b))))] for a, b in pairs], np.float32)


def _from_array(array: Array, chosen: Sequence[int], images: ImageSpec, sigma: FloatArray | None = None) -> Batches:
    def read() -> Iterator[Batch]:
        for start in range(0, len(chosen), BATCH_SIZE):
            part = list(chosen[start : start + BATCH_SIZE])
            noisy = fit(array[part], images)
            yield noisy if sigma is None else Leveled(noisy, sigma[part])

    return Batches(len(chosen), read)


# --- image files ---------------------------------------------------------------------------------------------------------


def _from_folder(folder: Path, images: ImageSpec, levels: SigmaInput | None) -> Samples:
    paths = find_images(folder, recursive=True)
    if not paths:
        raise CalibrationError(f"{folder} holds no images. Give a folder of noisy images with --calibration-data.")
    calibrating, testing = _split(folder, len(paths))
    sigma = None if levels is None else spread(levels, len(paths))
    calibration, test = (_from_files(paths, chosen, images, sigma) for chosen in (calibrating, testing))
    return Samples(calibration, test, None, f"{len(paths)} images")


def _from_files(paths: Sequence[Path], chosen: Sequence[int], images: ImageSpec, sigma: FloatArray | None) -> Batches:
    def read() -> Iterator[Batch]:
        for index in chosen:
            noisy = fit(_in_channels(read_image(paths[index]).pixels, images.channels), images)
            yield noisy if sigma is None else Leveled(noisy, np.repeat(sigma[index : index + 1], len(noisy), axis=0))

    return Batches(len(chosen), read)


def _in_channels(pixels: Array, channels: int) -> Array:
    """Return an image as (N, H, W, C) without alpha; for a gray model each color is an image, as in the runtime."""
    planes = pixels[..., None] if pixels.ndim == 2 else pixels[..., : 1 if pixels.shape[2] < 3 else 3]
    if channels == 1:
        return planes.transpose(2, 0, 1)[..., None]
    return np.broadcast_to(planes, (*planes.shape[:2], channels))[None]
