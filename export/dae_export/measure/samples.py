"""Noisy images that set the ranges of an INT8 model and judge it, read batch by batch."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dae_runtime.contract import ImageSpec, SigmaInput
from dae_runtime.images import find_images, read_image
from dae_runtime.pixels.arrays import Array, FloatArray

from ..errors import CalibrationError
from .batches import Batch, Leveled, spread
from .parity import noisy_images

ARRAYS = ("noisy", "clean", "sigma", "test_noisy", "test_clean", "test_sigma")
ARRAY_SUFFIXES = (".npz", ".npy")
BATCH_SIZE = 16
LARGEST_SIDE_PX = 512
"""Larger images are cropped: a calibration keeps the activations of a whole batch in memory."""
MADE_UP_SIDE_PX = 64
HELD_OUT = 4
"""Where the data has no test part, one of this many samples judges instead of calibrating."""


@dataclass(frozen=True)
class Batches:
    """Images in batches of one shape each; they are read anew each time one goes through them."""

    count: int
    """Number of images."""
    read: Callable[[], Iterator[Batch]]
    """Starts reading: (N, H, W, C) float32, nominally in [0, 1], with their noise levels for a model that takes them."""

    def __iter__(self) -> Iterator[Batch]:
        return self.read()


@dataclass(frozen=True)
class Samples:
    """What a model is calibrated with and judged on."""

    calibration: Batches
    test: Batches
    """Noisy images that the calibration does not see."""
    clean: Batches | None
    """References of `test`, in the same order and batches; None where there are none."""
    source: str
    """Where they come from, in words for people."""


def fit(pixels: Array, images: ImageSpec) -> FloatArray:
    """Cut the middle out of (N, H, W, C) pixels, and pad by reflection what is too small for a model.

    Args:
        pixels: Of any image dtype; not modified.
        images: What the model takes.

    Returns:
        Float32 of a size that the model takes, at most `LARGEST_SIDE_PX` unless its size is fixed.
    """
    pixels = as_float(pixels)
    for axis in (1, 2):
        wanted = images.size_near(min(pixels.shape[axis], LARGEST_SIDE_PX))[axis - 1]
        begin = max(pixels.shape[axis] - wanted, 0) // 2
        pixels = pixels.take(range(begin, min(begin + wanted, pixels.shape[axis])), axis=axis)
        missing = [(0, wanted - pixels.shape[axis] if a == axis else 0) for a in range(4)]
        pixels = np.pad(pixels, missing, mode="reflect")
    return np.ascontiguousarray(pixels)


def made_up_samples(images: ImageSpec, levels: SigmaInput | None = None) -> Samples:
    """Return pictures without clean references, for a model that has no samples."""
    noisy = noisy_images((BATCH_SIZE, *images.size_near(MADE_UP_SIDE_PX), images.channels))
    batch = noisy if levels is None else Leveled(noisy, spread(levels, len(noisy)))
    batches = Batches(len(noisy), lambda: iter([batch]))
    return Samples(batches, batches, None, "made-up pictures")


def check_samples_path(path: Path) -> None:
    """Check that `path` can hold samples, without reading them.

    Raises:
        CalibrationError: It does not exist, or is neither a folder nor an array file.
    """
    if path.is_dir() or (path.is_file() and path.suffix in ARRAY_SUFFIXES):
        return
    received = "received a file of another kind" if path.is_file() else "there is nothing"
    raise CalibrationError(
        f"{path}: expected a folder of noisy images, or an .npz or .npy file; {received}. Give another --calibration-data."
    )


def read_levels(path: Path) -> FloatArray | None:
    """Return the noise levels that an .npz file says its samples have, (N, 1); None if it says nothing, or is none.

    Raises:
        CalibrationError: The file cannot be read.
    """
    arrays = {} if path.is_dir() else _read_arrays(path)
    found = [arrays[name].reshape(-1, 1) for name in ("sigma", "test_sigma") if name in arrays]
    return np.concatenate(found).astype(np.float32) if found else None


def load_samples(path: str | os.PathLike[str], images: ImageSpec, levels: SigmaInput | None = None) -> Samples:
    """Open calibration samples.

    Args:
        path: An .npz file with `noisy` and optionally `clean`, `test_noisy`, `test_clean`, and `sigma` and `test_sigma`, the
            noise level of each image (N,) or (N, 1), for a model that takes it; an .npy file of noisy images; or a
            folder of noisy image files, searched recursively. Arrays are (N, H, W, C) or (N, H, W): float in [0, 1],
            uint8 or uint16.
        images: What the model takes; the samples are cropped or padded to it.
        levels: The noise levels that the model was trained on; None if it takes none. Where the file does not say what levels
            its images have, they are measured against `clean`, or else each image stands for another level of these.

    Raises:
        CalibrationError: There are no samples, or they do not fit the model.
        ImageError: An image file cannot be read.
    """
    path = Path(path)
    check_samples_path(path)
    if path.is_dir():
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
    judging: Sequence[int] = range(len(arrays.get("test_noisy", ())))
    if "test_noisy" not in arrays:
        calibrating, judging = _split(path, len(arrays["noisy"]))
        arrays |= {f"test_{name}": arrays[name] for name in ("noisy", "clean", "sigma") if name in arrays}
    clean_batches = _from_array(arrays["test_clean"], judging, images) if "test_clean" in arrays else None
    test = _from_array(arrays["test_noisy"], judging, images, arrays.get("test_sigma"))
    calibration = _from_array(arrays["noisy"], calibrating, images, arrays.get("sigma"))
    return Samples(calibration, test, clean_batches, path.name)


def as_float(images: Array) -> FloatArray:
    """Return images in float32, the range of an integer type becoming [0, 1]; a float32 array is returned as it is."""
    if np.issubdtype(images.dtype, np.integer):
        return images.astype(np.float32) / np.float32(np.iinfo(images.dtype).max)
    return images.astype(np.float32, copy=False)


def _split(path: Path, count: int) -> tuple[Sequence[int], Sequence[int]]:
    """Return which samples calibrate and which judge: a range that was set by the image it is judged on looks too good."""
    if count < 2:
        raise CalibrationError(f"{path} holds {count} image; INT8 needs at least 2, one of them to judge the result with.")
    judging = range(0, count, HELD_OUT)
    return [i for i in range(count) if i not in judging], judging


# --- arrays ------------------------------------------------------------------------------------------------------------


def _read_arrays(path: Path) -> dict[str, Array]:
    try:
        content = np.load(path, mmap_mode="r")  # never unpickles
        if isinstance(content, np.ndarray):
            return {"noisy": content}
        with content:
            return {name: content[name] for name in ARRAYS if name in content}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise CalibrationError(f"{path} cannot be read as arrays: {error}. Write it with numpy.savez.") from error


def _checked(path: Path, name: str, array: Array, images: ImageSpec) -> Array:
    array = array[..., None] if array.ndim == 3 else array
    number = np.issubdtype(array.dtype, np.floating) or array.dtype in (np.uint8, np.uint16)
    if not number or array.ndim != 4 or array.size == 0 or array.shape[3] != images.channels:
        raise CalibrationError(
            f"{path}: {name} must be (N, H, W, {images.channels}), float in [0, 1], uint8 or uint16; "
            f"received {array.dtype} {array.shape}."
        )
    # Noise that is not clipped leaves [0, 1], but not by much; floats of 0..255 do, and would calibrate nonsense.
    if np.issubdtype(array.dtype, np.floating) and not np.percentile(np.abs(array[:BATCH_SIZE]), 99) < 8:
        raise CalibrationError(f"{path}: {name} must be in [0, 1]; received values up to {np.max(array[:BATCH_SIZE]):g}.")
    return array


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
    return np.array([[np.sqrt(np.mean(np.square(as_float(a) - as_float(b))))] for a, b in pairs], np.float32)


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
    calibrating, judging = _split(folder, len(paths))
    sigma = None if levels is None else spread(levels, len(paths))
    calibration, test = (_from_files(paths, chosen, images, sigma) for chosen in (calibrating, judging))
    return Samples(calibration, test, None, f"{len(paths)} images")


def _from_files(paths: Sequence[Path], chosen: Sequence[int], images: ImageSpec, sigma: FloatArray | None) -> Batches:
    def read() -> Iterator[Batch]:
        for index in chosen:
            noisy = fit(_in_channels(read_image(paths[index]).pixels, images.channels), images)
            yield noisy if sigma is None else Leveled(noisy, np.repeat(sigma[index : index + 1], len(noisy), axis=0))

    return Batches(len(chosen), read)


def _in_channels(pixels: Array, channels: int) -> Array:
    """Return (N, H, W, C) of an image: without alpha, and as the runtime does it, a gray model sees each color by itself."""
    planes = pixels[..., None] if pixels.ndim == 2 else pixels[..., : 1 if pixels.shape[2] < 3 else 3]
    if channels == 1:
        return planes.transpose(2, 0, 1)[..., None]
    return np.broadcast_to(planes, (*planes.shape[:2], channels))[None]
