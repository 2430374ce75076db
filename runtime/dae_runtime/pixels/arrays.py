"""Image arrays: checks, and conversion to and from a model's batch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError, ModelError

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

FULL_SCALE = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535, np.dtype(np.float32): 1}
"""The white value by image dtype."""
LUMA = (np.float32(0.299), np.float32(0.587), np.float32(0.114))
"""Weights of red, green and blue in brightness: ITU-R BT.601, as in JPEG."""
STRIP_ROWS = 256
PART_VALUES = 2**16
"""Values that are converted at once."""
LARGEST_FLOAT = 16.0
"""Float images are about 0..1, and noise may leave this range; larger values mean another unit."""
_NO_ARRAY = "an image must be an array of uint8 (0..255), uint16 (0..65535) or float32 (0..1), (H, W) or (H, W, C);"


def as_image(noisy: npt.ArrayLike) -> Array:
    """Check an image or a batch of images and return it as an array.

    Args:
        noisy: (H, W), (H, W, C) or (N, H, W, C) with C from 1 to 4; uint8, uint16 or float32.

    Returns:
        An array that may share memory with `noisy`, in native byte order.

    Raises:
        InputError: The dtype or shape is another, or the value is not an array.
    """
    if _is_masked(noisy):
        raise InputError(
            f"{_NO_ARRAY} received an array with a mask, and the result could not have it. Fill the masked values, e.g. with "
            "numpy.ma.filled, and mask the result yourself."
        )
    try:
        image = np.asarray(noisy)
    except (ValueError, TypeError) as error:  # rows of several lengths
        raise InputError(
            f"{_NO_ARRAY} received {type(noisy).__name__}, not an array ({error}). Give rows of equal length and type."
        ) from error
    if image.dtype.kind in "USO":  # text, bytes, objects
        received = f"an array of {image.dtype}" if isinstance(noisy, np.ndarray) else type(noisy).__name__
        raise InputError(f"{_NO_ARRAY} received {received}. Read files with dae_runtime.images.read_image(path).pixels.")
    if image.dtype not in FULL_SCALE:  # another byte order, or unsupported
        image = image.astype(image.dtype.newbyteorder("="), copy=False)
    if image.dtype not in FULL_SCALE:
        raise InputError(
            f"an image must be uint8 (0..255), uint16 (0..65535) or float32 (0..1), not {image.dtype}. "
            "Convert it first, e.g. with image.astype(numpy.float32) for values from 0 to 1."
        )
    if image.ndim not in (2, 3, 4) or image.size == 0:
        raise InputError(
            f"an image must have the shape (H, W) or (H, W, C), a batch (N, H, W, C), and hold at least one pixel; "
            f"received {image.shape}."
        )
    if image.ndim > 2 and not 1 <= image.shape[-1] <= 4:
        hint = " A batch of gray images needs a channel axis: images[..., None]." if image.ndim == 3 else ""
        raise InputError(
            "the last axis must hold 1 (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGB, alpha) channels; "
            f"received {image.shape}.{hint}"
        )
    return image


def _is_masked(noisy: object) -> bool:
    """Tell whether an array, or one in a list, has masked values."""
    arrays = noisy if isinstance(noisy, list | tuple) else [noisy]
    return any(isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array) for array in arrays)


def check_values(image: Array) -> None:
    """Check that a float image is finite and about 0..1.

    Raises:
        InputError: It holds NaN, infinity, or values beyond +-16.
    """
    if image.dtype != np.float32:
        return
    low, high = _extremes(image)
    if not (math.isfinite(low) and math.isfinite(high)):
        count = int(image.size - np.count_nonzero(np.isfinite(image)))
        raise InputError(
            f"the image holds {count} values that are NaN or infinite, of {image.size}. "
            "Replace them first, e.g. with numpy.nan_to_num."
        )
    if max(-low, high) > LARGEST_FLOAT:
        raise InputError(
            f"a float32 image must be about 0..1; received values from {low:g} to {high:g}. Divide it by its "
            "white value, e.g. by 255."
        )


def limit_to_range(denoised: Array) -> Array:
    """Check the output of a model, and clip it to the value range.

    Clipping never makes a result worse, since clean images lie in [0, 1]; it would hide infinity, so it comes second.

    Args:
        denoised: uint8, returned unchanged, or float32, clipped in place.

    Returns:
        `denoised`; float32 within [0, 1].

    Raises:
        ModelError: It holds NaN or infinity.
    """
    if denoised.dtype != np.float32:
        return denoised
    low, high = _extremes(denoised)
    if low >= 0 and high <= 1:
        return denoised
    if not (math.isfinite(low) and math.isfinite(high)):
        count = int(denoised.size - np.count_nonzero(np.isfinite(denoised)))
        raise ModelError(
            f"the model returned {count} values that are NaN or infinite, of {denoised.size}; expected numbers in 0..1. Its "
            "training diverged, its file is damaged, or it is fp16 and overflows: use another model, or export it again."
        )
    np.clip(denoised, 0, 1, out=denoised)
    return denoised


def strips(height: int) -> Iterator[slice]:
    """Yield slices of rows, for what needs more memory than its result: a large image takes that once for each strip."""
    for top in range(0, height, STRIP_ROWS):
        yield slice(top, min(top + STRIP_ROWS, height))


def as_batch(image: Array) -> Array:
    """Return a view (N, H, W, C) of an image or a batch."""
    if image.ndim == 2:
        return image[None, :, :, None]
    return image[None] if image.ndim == 3 else image


def color_channels(channels: int) -> int:
    """Return the number of color channels; an even number of channels ends with alpha."""
    return channels - 1 if channels % 2 == 0 else channels


def to_model_channels(color: Array, channels: int) -> Array:
    """Convert colors to the channels of a model.

    Args:
        color: (N, H, W, 1 or 3).
        channels: 1 or 3, the model's.

    Returns:
        (N, H, W, channels) where they agree; (3 N, H, W, 1), channel by channel, for color images and a gray model; gray
        repeated to (N, H, W, 3) for a color model. May be a view.
    """
    if color.shape[3] == channels:
        return color
    if channels == 1:
        return np.moveaxis(color, 3, 1).reshape(-1, *color.shape[1:3], 1)
    return np.broadcast_to(color, (*color.shape[:3], channels))


def from_model_channels(denoised: Array, channels: int) -> Array:
    """Undo `to_model_channels`.

    Args:
        denoised: Output of the model for `to_model_channels`; uint8, or float32 in [0, 1].
        channels: 1 or 3, the images'.

    Returns:
        (N, H, W, channels) in the dtype of `denoised`, or float32 in [0, 1] for a color result averaged to gray.
    """
    if denoised.shape[3] == channels:
        return denoised
    if channels == 3:
        return np.moveaxis(denoised.reshape(-1, 3, *denoised.shape[1:3]), 1, 3)
    mean: Array = denoised.mean(axis=3, keepdims=True, dtype=np.float32)
    mean /= np.float32(FULL_SCALE[denoised.dtype])
    return mean


def convert(image: Array, dtype: npt.DTypeLike, *, clip: bool = True) -> Array:
    """Convert between uint8, uint16 and float32, mapping black to black and white to white.

    Integers are rounded to nearest and clipped. Returns `image` itself if the dtype is the same.

    Args:
        image: Of any shape.
        dtype: What to convert to.
        clip: False for float32 within 0..1, which needs no clipping to become integers.
    """
    target = np.dtype(dtype)
    if image.dtype == target:
        return image
    if target == np.float32:
        return np.divide(image, np.float32(FULL_SCALE[image.dtype]), dtype=np.float32)
    if image.dtype == np.float32:
        return _rounded(image, target, clip)
    if target == np.uint16:
        return image.astype(np.uint16) * np.uint16(257)
    return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _rounded(image: FloatArray, target: np.dtype[Any], clip: bool) -> Array:
    """Convert float32 to integers, part by part: a part stays in the processor's cache."""
    white, result = np.float32(FULL_SCALE[target]), np.empty(image.shape, target)
    with np.nditer(
        [image, result],
        ["external_loop", "buffered", "zerosize_ok"],
        [["readonly"], ["writeonly"]],
        [np.float32, np.float32],
        casting="unsafe",
        buffersize=PART_VALUES,
    ) as parts:
        for values, rounded in parts:
            np.multiply(values, white, out=rounded)
            np.rint(rounded, out=rounded)
            if clip:
                np.clip(rounded, 0, white, out=rounded)
    return result


def pad_to_multiple(batch: Array, alignment_px: int) -> Array:
    """Extend (N, H, W, C) at the bottom and the right by reflection to a multiple of `alignment_px`."""
    bottom, right = -batch.shape[1] % alignment_px, -batch.shape[2] % alignment_px
    if bottom == right == 0:
        return batch
    return np.pad(batch, ((0, 0), (0, bottom), (0, right), (0, 0)), mode="reflect")


def blend(noisy: Array, clean: Array, luma: float, color: float) -> Array:
    """Return `noisy` with a share of the change that leads to `clean`, in the dtype of `noisy`.

    Per pixel: noisy + color * change + (luma - color) * brightness of the change (BT.601, as in JPEG). If both shares are 1,
    that is `clean`, without a copy if the dtype is the same.

    Args:
        noisy: (..., 1 or 3) of any image dtype; not modified.
        clean: Of the same shape and any image dtype, float32 within 0..1; not modified.
        luma: Share of the change of brightness, 0 to 1.
        color: Share of the change of color at equal brightness, 0 to 1; without effect on a single channel.
    """
    colored = noisy.shape[-1] == 3 and luma != color
    if luma == 1 and not colored:
        return convert(clean, noisy.dtype, clip=False)
    change = convert(clean, np.float32) - convert(noisy, np.float32)
    if colored:
        brightness = luma_of(change)
        brightness *= np.float32(luma - color)
        change *= np.float32(color)
        change += brightness
    else:
        change *= np.float32(luma)
    change += convert(noisy, np.float32)
    return convert(change, noisy.dtype)


def luma_of(colors: FloatArray) -> FloatArray:
    """Return the brightness of (..., 1 or 3) as (..., 1); a new array for 3 channels, `colors` itself for 1."""
    if colors.shape[-1] == 1:
        return colors
    # Sums of products, not a matrix product: each pixel comes out the same in an array of any shape.
    luma: FloatArray = colors[..., :1] * LUMA[0]
    for channel in (1, 2):
        luma += colors[..., channel : channel + 1] * LUMA[channel]
    return luma


def _extremes(values: Array) -> tuple[float, float]:
    """Return the smallest and the largest value; both are NaN if any value is."""
    # Ufuncs take half the time of the methods for small arrays.
    return float(np.minimum.reduce(values, axis=None)), float(np.maximum.reduce(values, axis=None))
