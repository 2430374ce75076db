"""The Denoiser: a model file opened for use."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from . import engine
from .arrays import (
    Array,
    as_batch,
    as_image,
    check_values,
    color_channels,
    convert,
    from_model_channels,
    pad_to_multiple,
    to_model_channels,
)
from .batches import windows
from .contract import Contract
from .errors import DaeError, InputError
from .models import find_model
from .patches import denoise_patches

RUN_PIXELS = {"cpu": 2**18, "cuda": 2**22}
"""Pixels that one run of the engine gets at most (one image at least): bounds the memory of the activations."""


class Denoiser:
    """A model opened on a device.

    Opening a model costs much more than denoising a small image: make one Denoiser and keep it. One instance may be used by
    many threads at once. It prints nothing, and never changes an array that it is given.

    Args:
        model: Path of an `.onnx` file written by dae-export, its content as bytes, or the name of a bundled model.
        device: `auto` (CUDA if it works, else the CPU), `cpu`, `cuda` or `cuda:N`.
        threads: CPU threads; None for as many as this process may use.

    Raises:
        ModelError: The model is missing, damaged, or carries no contract that this version knows.
        DeviceError: CUDA was asked for by name and cannot be had.
        MissingDependencyError: onnxruntime is not installed.
        InputError: `device` or `threads` is not usable.

    Example:
        >>> with Denoiser("model.onnx") as denoiser:
        ...     clean = denoiser.denoise(noisy)
    """

    def __init__(self, model: str | os.PathLike[str] | bytes, device: str = "auto", threads: int | None = None) -> None:
        engine.parse_device(device)
        source: bytes | Path = bytes(model) if isinstance(model, bytes | bytearray | memoryview) else find_model(model)
        where = "the model" if isinstance(source, bytes) else os.fspath(source)
        session = engine.open_session(source, device, threads)
        self._model = engine.read_contract(session, where)
        self._device = engine.session_device(session)
        self._run_pixels = RUN_PIXELS[self._device.partition(":")[0]]
        self._session: Any = session

    @property
    def device(self) -> str:
        """Where the model really runs: `cpu` or `cuda:N`."""
        return self._device

    @property
    def model(self) -> Contract:
        """What the model file says about itself."""
        return self._model

    def denoise(self, noisy: npt.ArrayLike) -> Array:
        """Denoise an image or a batch of images of one size.

        A gray model denoises the channels of a color image one by one; a color model gets gray images as equal channels,
        whose mean is returned. Alpha (the last of 2 or 4 channels) is passed through untouched. Sizes that are no multiple
        of the model's alignment are padded by reflection and cropped back.

        Args:
            noisy: (H, W), (H, W, C) or (N, H, W, C) with C from 1 to 4; uint8 0..255, uint16 0..65535 or float32 of about
                0..1 (noise may leave that range). An array of three axes is always one image. Not modified.

        Returns:
            A new array of the same shape, dtype and range. Integers are rounded and clipped, floats are the model's own.

        Raises:
            InputError: The shape, the dtype or the values are not as above.
            DeviceError: The engine failed, for instance for want of memory.
        """
        image = as_image(noisy)
        check_values(image)
        batch = as_batch(image)
        colors = color_channels(batch.shape[3])
        result = np.empty(batch.shape, image.dtype)
        size = self._images_per_run(batch.shape[1] * batch.shape[2], colors)
        for start in range(0, len(batch), size):
            result[start : start + size, ..., :colors] = self._denoise_colors(batch[start : start + size, ..., :colors])
        result[..., colors:] = batch[..., colors:]
        return result.reshape(image.shape)

    def stream(self, images: Iterable[npt.ArrayLike], batch_size: int | None = None) -> Iterator[Array]:
        """Denoise any number of images, in order, with bounded memory.

        Images are taken in small groups, and those of a group that have one shape and dtype run as one batch; the shapes may
        change at any time. Nothing is taken from `images` before the first result is asked for.

        Args:
            images: Images as `denoise` takes them, one by one; each (H, W) or (H, W, C).
            batch_size: Images per group: what is read ahead of the result. 1 gives each result at once, for live video.
                None: up to 256 small images, fewer when they are large.

        Yields:
            For each image a new array of the same shape, dtype and range.

        Raises:
            InputError: `batch_size` is below 1, or an image is not usable.
            DeviceError: The engine failed.
        """
        if batch_size is not None and batch_size < 1:
            raise InputError(f"batch_size must be at least 1, not {batch_size}.")
        return self._stream(map(_single_image, images), batch_size)

    def close(self) -> None:
        """Free the model. A closed Denoiser cannot be used again; closing twice does nothing."""
        self._session = None

    def __enter__(self) -> Denoiser:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Denoiser({self._model.name!r}, {self._model.precision}, device={self._device!r})"

    def _stream(self, images: Iterator[Array], batch_size: int | None) -> Iterator[Array]:
        for window in windows(images, lambda image: image.size, batch_size):
            if len(window) == 1:
                yield self.denoise(window[0])
            else:
                yield from self._denoise_window(window)

    def _denoise_window(self, window: list[Array]) -> list[Array]:
        groups: dict[tuple[Any, ...], list[int]] = {}
        for index, image in enumerate(window):
            groups.setdefault((image.shape, image.dtype), []).append(index)
        results: list[Array] = [np.empty(0)] * len(window)
        for (shape, _), indices in groups.items():
            batch = np.stack([window[index] for index in indices])
            clean = self.denoise(batch.reshape(len(indices), shape[0], shape[1], -1))
            for index, image in zip(indices, clean, strict=True):
                results[index] = image.reshape(shape).copy()  # a view would keep the whole batch alive
        return results

    def _images_per_run(self, pixels: int, colors: int) -> int:
        runs_per_image = 3 if (self._model.channels, colors) == (1, 3) else 1
        return max(1, self._run_pixels // (pixels * runs_per_image))

    def _denoise_colors(self, colors: Array) -> Array:
        """Denoise (N, H, W, 1 or 3) of any image dtype."""
        batch = to_model_channels(colors, self._model.channels)
        clean = self._denoise_size(convert(batch, self._model.io_dtype))
        return convert(from_model_channels(clean, colors.shape[3]), colors.dtype)

    def _denoise_size(self, batch: Array) -> Array:
        """Denoise (N, H, W, model's channels) of the model's dtype and of any height and width."""
        height, width = batch.shape[1:3]
        fixed = self._model.fixed_size
        if fixed is not None and fixed != (height, width):
            return denoise_patches(convert(batch, np.float32), fixed, self._run_float)
        return self._run(pad_to_multiple(batch, self._model.alignment_px))[:, :height, :width]

    def _run_float(self, batch: Array) -> Array:
        return convert(self._run(convert(batch, self._model.io_dtype)), np.float32)

    def _run(self, batch: Array) -> Array:
        session = self._session
        if session is None:
            raise DaeError("this Denoiser is closed. Make a new one.")
        return engine.run_session(session, np.ascontiguousarray(batch))


def _single_image(noisy: npt.ArrayLike) -> Array:
    image = as_image(noisy)
    if image.ndim == 4:
        raise InputError(f"a stream takes single images, (H, W) or (H, W, C); received a batch {image.shape}.")
    return image
