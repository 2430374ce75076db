"""Denoise raw video frames, and image files given as bytes."""

from __future__ import annotations

import logging
import math
import re
import threading
from collections.abc import Iterator
from dataclasses import asdict
from typing import BinaryIO

import numpy as np

from ..errors import ImageError, InputError
from ..images import KINDS_OF_8_BITS, MAX_PIXELS, Image, decode, encode, lost_metadata, warn_multi_image, written_kind
from ..inference import DEFAULT_CONTROLS, Controls, Denoiser
from ..pixels.arrays import Array
from ..system.bounds import shown
from ..system.processor import available_cpus
from ..system.threads import ordered_map
from .losses import KINDS_OF_QUALITY, NO_QUALITY

MOST_BYTES_AHEAD = 2**30
"""Of raw frames that are read before the first is written, if more than one."""

logger = logging.getLogger(__name__)


def parse_frame(text: str) -> tuple[tuple[int, int, int], type[np.uint8 | np.uint16]]:
    """Return (height, width, channels) and dtype of a frame given as `WxHxC`, `WxH` for gray, or `WxHxCx16` for 16 bits.

    Raises:
        InputError: The text has another form, the channels are not 1 to 4, or there are more pixels than `MAX_PIXELS`.
    """
    match = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})(?:x([1-4])(?:x(8|16))?)?", text)
    if match is None:
        raise InputError(
            f"a raw frame must be WIDTHxHEIGHTxCHANNELS with 1 to 4 channels, e.g. 1920x1080x3, or 1920x1080x3x16 for 16 "
            f"bits, not {shown(text)}."
        )
    width, height = int(match[1]), int(match[2])
    if width * height > MAX_PIXELS:
        raise InputError(
            f"a raw frame may have {MAX_PIXELS / 1e6:.0f} megapixels, not {width * height / 1e6:.0f}: {shown(text)}. Check "
            "the size, or cut the frames."
        )
    return (height, width, int(match[3] or 1)), np.uint16 if match[4] == "16" else np.uint8


def denoise_raw(
    denoiser: Denoiser,
    source: BinaryIO,
    target: BinaryIO,
    shape: tuple[int, int, int],
    *,
    controls: Controls = DEFAULT_CONTROLS,
    ahead: int | None = None,
    dtype: type[np.uint8 | np.uint16] = np.uint8,
) -> int:
    """Denoise a stream of raw frames, in order, with bounded memory.

    Several frames are denoised at once if the denoiser has fewer threads than there are CPUs.

    Args:
        denoiser: The open denoiser.
        source: Contiguous frames: rows from the top, channels interleaved, as ffmpeg's `gray` and `rgb24`; 16 bits in
            little-endian order, as its `gray16le` and `rgb48le`.
        target: Gets the denoised frames in the same format.
        shape: (height, width, channels) of a frame; 1 to 4 channels: gray, gray and alpha, RGB, RGB and alpha.
        controls: The user's choices about the results; without a noise level it is measured for each frame.
        ahead: Frames read before the first is written, fewer where they would take more than 1 GiB; 1 for the lowest latency,
            None to keep the CPUs busy.
        dtype: Of the values: uint8, or uint16 for 16 bits.

    Returns:
        The number of frames.

    Raises:
        InputError: The stream ends within a frame (all frames before it are written), or frames do not fit into memory.
    """
    denoiser.check(controls)
    slots = max(1, available_cpus() // denoiser.threads) if denoiser.device == "cpu" else 1
    broken: list[InputError] = []

    def whole_frames() -> Iterator[Array]:
        try:
            yield from read_frames(source, shape, dtype)
        except InputError as error:  # raised after the frames before it are written
            broken.append(error)

    most = max(1, MOST_BYTES_AHEAD // (math.prod(shape) * np.dtype(dtype).itemsize))

    def work(frame: Array) -> Array:
        return denoiser.denoise(frame, **asdict(controls))

    count = 0
    try:
        for clean in ordered_map(whole_frames(), work, slots, threading.Event(), min(ahead or 2 * slots, most)):
            target.write(clean.astype(clean.dtype.newbyteorder("<"), copy=False).data)
            target.flush()
            count += 1
    except MemoryError as error:
        height, width, channels = shape
        size = height * width * channels * np.dtype(dtype).itemsize
        raise InputError(
            f"raw frames of {width}x{height} with {channels} channels, {size} bytes each, do not fit into memory. Check the "
            "size; if it is right, hold fewer frames at once (ahead=1, --batch-size 1), or cut them."
        ) from error
    if broken:
        raise broken[0]
    return count


def read_frames(
    source: BinaryIO, shape: tuple[int, int, int], dtype: type[np.uint8 | np.uint16] = np.uint8
) -> Iterator[Array]:
    """Yield (H, W, C) frames until the stream ends.

    Raises:
        InputError: The stream ends within a frame.
    """
    height, width, channels = shape
    size = height * width * channels * np.dtype(dtype).itemsize
    number = 0
    while data := _read_up_to(source, size):
        if len(data) < size:
            raise InputError(
                f"the raw stream ends within frame {number}: {len(data)} of {size} bytes. Check that the frames are "
                f"{width}x{height} with {channels} channels of {8 * np.dtype(dtype).itemsize} bits."
            )
        number += 1
        yield np.frombuffer(data, np.dtype(dtype).newbyteorder("<")).astype(dtype, copy=False).reshape(shape)


def _read_up_to(source: BinaryIO, size: int) -> bytes:
    data = source.read(size)
    while 0 < len(data) < size and (part := source.read(size - len(data))):  # an unbuffered pipe may return less
        data += part
    return data


def denoise_file_bytes(
    denoiser: Denoiser,
    data: bytes,
    kind: str | None = None,
    *,
    controls: Controls = DEFAULT_CONTROLS,
    max_pixels: int = MAX_PIXELS,
    value_range: tuple[float, float] | None = None,
    quality: int | None = None,
    name: str = "the image",
) -> bytes:
    """Denoise an image file given as bytes. A reduction from 16 to 8 bits, and lost metadata, are logged as warnings.

    Args:
        denoiser: The open denoiser.
        data: Content of an image file that `decode` reads.
        kind: `png`, `jpeg`, `tiff`, `webp`, `avif`, `bmp`, `pgm`, `ppm` or `pnm`: the kind to return; None for the
            input's, TIFF for camera raw, PNG for GIF.
        controls: The user's choices about the result.
        max_pixels: Larger images are refused.
        value_range: Values of black and white of a TIFF with float or signed pixels.
        quality: Of JPEG, AVIF and lossy WebP; None for that of a JPEG, else 95, or 90 for AVIF.
        name: Name of the image in errors and log lines.

    Raises:
        ImageError: The data is not such a file, or cannot be written as `kind`.
        InputError: The denoiser cannot take the image, or it does not fit into memory.
    """
    try:
        decoded = decode(data, max_pixels, value_range=value_range)
        if decoded.has_more_images:
            warn_multi_image(name)
        image = Image(decoded.pixels, decoded.metadata, decoded.pages, decoded.kind)
        image = image.with_pixels(denoiser.denoise(image.page_pixels, **asdict(controls)))
        kind = kind or written_kind(image.kind)
        content = encode(image.pixels, kind, image.metadata, pages=image.pages, quality=quality)
        lost = lost_metadata(image.metadata, kind, content)
    except ImageError as error:
        raise ImageError(f"{name}: {error}.") from error
    except MemoryError as error:
        raise InputError(f"{name} does not fit into memory. Free memory, or give smaller images.") from error
    if quality is not None and kind not in KINDS_OF_QUALITY:
        logger.warning("%s: quality %d %s", name, quality, NO_QUALITY)
    if lost:
        logger.warning("%s: written without %s", name, ", ".join(lost))
    if image.pixels.dtype == np.uint16 and kind in KINDS_OF_8_BITS:
        logger.warning(
            "%s: reduced from 16 to 8 bits, the most that JPEG, WebP and BMP hold. Write PNG or TIFF to keep every bit", name
        )
    return content
