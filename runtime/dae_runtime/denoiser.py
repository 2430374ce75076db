"""The Denoiser: a model file opened for use."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
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
    blend,
    check_strength,
    check_values,
    convert,
    from_model_channels,
    pad_to_multiple,
    to_model_channels,
)
from .batches import by_shape, until, windows
from .contract import Contract
from .cutting import Cutter
from .engine_devices import parse_device
from .engine_fork import opened_here
from .errors import CancelledError, DaeError, DeviceError, InputError
from .memory import (
    UNMEASURED_BYTES_PER_PIXEL,
    Limits,
    bytes_per_pixel,
    default_limits,
    is_shortage,
    memory_limits,
    tile_limits,
    tileable,
)
from .models import find_model
from .processor import available_cpus
from .tiles import smallest_tile

RUN_PIXELS = {"cpu": 2**18, "cuda": 2**22}
"""Pixels that one run of the engine gets at most (one image or tile at least): bounds the memory of the activations."""

logger = logging.getLogger(__name__)


class Denoiser:
    """A model opened on a device.

    Opening a model costs much more than denoising a small image: make one Denoiser and keep it. One instance may be used by
    many threads at once. It prints nothing, and never changes an array that it is given.

    Args:
        model: Path of an `.onnx` file written by dae-export, its content as bytes, or the name of a bundled model.
        device: `auto` (CUDA if it works, else the CPU), `cpu`, `cuda` or `cuda:N`.
        threads: CPU threads; None for as many as this process may use.
        tile_px: Side of the tiles that larger images are cut into; None to choose: 512 on the CPU, for images of more than
            half a megapixel. Tiling changes no result; models that see the whole image cannot be tiled.
        max_memory_mb: Memory in MiB for the engine and the image of one call, beyond the 100 to 150 MiB of the process
            itself. What the engine needs per pixel is measured once, at the start (about 1 KiB for a small network), and tiles
            are chosen so that it stays within two fifths of that; the rest is for the image and its result. None: no limit.

    Raises:
        ModelError: The model is missing, damaged, or carries no contract that this version knows.
        DeviceError: CUDA was asked for by name and cannot be had.
        MissingDependencyError: onnxruntime is not installed.
        InputError: `device`, `threads`, `tile_px` or `max_memory_mb` is not usable.

    Example:
        >>> with Denoiser("model.onnx") as denoiser:
        ...     clean = denoiser.denoise(noisy)
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes,
        device: str = "auto",
        threads: int | None = None,
        tile_px: int | None = None,
        max_memory_mb: int | None = None,
    ) -> None:
        parse_device(device)
        source: bytes | Path = bytes(model) if isinstance(model, bytes | bytearray | memoryview) else find_model(model)
        where = "the model" if isinstance(source, bytes) else os.fspath(source)
        session = engine.open_session(source, device, threads)
        self._arguments = (source if isinstance(source, bytes) else source.absolute(), device, threads, tile_px, max_memory_mb)
        self._model = engine.read_contract(session, where)
        self._device = engine.session_device(session)
        self._threads = threads or available_cpus()
        self._session: Any = session
        self._limits = default_limits(self._model, RUN_PIXELS.get(self._device.partition(":")[0], RUN_PIXELS["cpu"]))
        if max_memory_mb is not None:
            self._limits = memory_limits(self._model, self._limits, self._bytes_per_pixel(), max_memory_mb)
        if tile_px is not None:
            self._limits = tile_limits(self._model, self._limits, tile_px)

    @property
    def device(self) -> str:
        """Where the model really runs: `cpu` or `cuda:N`."""
        return self._device

    @property
    def threads(self) -> int:
        """CPU threads that one call uses."""
        return self._threads

    @property
    def model(self) -> Contract:
        """What the model file says about itself."""
        return self._model

    def denoise(self, noisy: npt.ArrayLike, *, strength: float = 1.0, cancel: Callable[[], bool] | None = None) -> Array:
        """Denoise an image or a batch of images of one size.

        A gray model denoises the channels of a color image one by one; a color model gets gray images as equal channels,
        whose mean is returned. Alpha (the last of 2 or 4 channels) is passed through untouched. Sizes that are no multiple
        of the model's alignment are padded by reflection and cropped back. A model of 8-bit pixels (`io_dtype` is "uint8")
        gets uint8 images as they are, without a copy where they need none; uint16 and float32 images are rounded to 8 bits
        for it, and its result has no more than 256 levels.

        Args:
            noisy: (H, W), (H, W, C) or (N, H, W, C) with C from 1 to 4; uint8 0..255, uint16 0..65535 or float32 of about
                0..1 (noise may leave that range). An array of three axes is always one image. Not modified.
            strength: How much of the change is taken, from 0 (the input as it is) to 1 (all of it).
            cancel: Asked before each run of the engine, that is before each tile of a large image; true ends the call.

        Returns:
            A new array of the same shape, dtype and range. Integers are rounded and clipped, floats are the model's own.

        Raises:
            InputError: The shape, the dtype or the values are not as above.
            DeviceError: The engine failed. Where memory ran out, this comes after trying with ever smaller tiles.
            CancelledError: `cancel` returned true.
        """
        check_strength(strength)
        image = as_image(noisy)
        check_values(image)
        batch = as_batch(image)
        while (result := self._denoise_within(self._limits, batch, strength, cancel)) is None:
            pass
        return result.reshape(image.shape)

    def stream(
        self,
        images: Iterable[npt.ArrayLike],
        batch_size: int | None = None,
        *,
        strength: float = 1.0,
        cancel: Callable[[], bool] | None = None,
    ) -> Iterator[Array]:
        """Denoise any number of images, in order, with bounded memory.

        Images are taken in small groups, and those of a group that have one shape and dtype run as one batch; the shapes may
        change at any time. Nothing is taken from `images` before the first result is asked for.

        Args:
            images: Images as `denoise` takes them, one by one; each (H, W) or (H, W, C).
            batch_size: Images per group: what is read ahead of the result. 1 gives each result at once, for live video.
                None: up to 256 small images, fewer when they are large.
            strength: As for `denoise`.
            cancel: Asked before each image is taken; true ends the stream after the images that were taken before.

        Yields:
            For each image a new array of the same shape, dtype and range.

        Raises:
            InputError: `batch_size` is below 1, `strength` is outside 0..1, or an image is not usable.
            DeviceError: The engine failed.
        """
        if batch_size is not None and batch_size < 1:
            raise InputError(f"batch_size must be at least 1, not {batch_size}.")
        check_strength(strength)
        return self._stream(map(_single_image, until(images, cancel)), batch_size, strength)

    def close(self) -> None:
        """Free the model. A closed Denoiser cannot be used again; closing twice does nothing."""
        self._session = None

    def __enter__(self) -> Denoiser:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what it was made of: the process that gets it opens the model again."""
        return type(self), self._arguments

    def __repr__(self) -> str:
        return f"Denoiser({self._model.name!r}, {self._model.precision}, device={self._device!r})"

    def _stream(self, images: Iterator[Array], batch_size: int | None, strength: float) -> Iterator[Array]:
        for window in windows(images, lambda image: image.size, batch_size):
            if len(window) == 1:
                yield self.denoise(window[0], strength=strength)
            else:
                yield from by_shape(window, lambda batch: self.denoise(batch, strength=strength))

    def _denoise_within(
        self, limits: Limits, batch: Array, strength: float, cancel: Callable[[], bool] | None
    ) -> Array | None:
        """Denoise (N, H, W, C); None if the memory did not suffice, and the limits are smaller now."""

        def clean(colors: Array) -> Array:
            if cancel is not None and cancel():
                raise CancelledError("denoising was cancelled by the caller.")
            return self._clean(colors)

        def finish(noisy: Array, clean: Array) -> Array:
            return convert(clean if strength == 1 else blend(noisy, clean, strength), noisy.dtype)

        try:
            return Cutter(self._model, clean, finish).denoise(batch, limits)
        except (DeviceError, MemoryError) as error:
            self._shrink(limits, error)
            return None

    def _shrink(self, limits: Limits, error: DeviceError | MemoryError) -> None:
        """Take smaller tiles from now on, or raise `error` if they are no remedy."""
        if not is_shortage(error):
            raise error
        if not tileable(self._model):
            raise DeviceError(f"{error} This model cannot work on tiles: give smaller images.") from error
        smaller = limits.halved(smallest_tile(self._model.alignment_px, self._model.halo_px or 0))
        if smaller is None:
            raise error
        if self._limits == limits:  # else another thread was here before
            self._limits = smaller
            logger.warning("memory ran out; going on with tiles of %d pixels", smaller.tile_px)

    def _bytes_per_pixel(self) -> float:
        model = self._model
        if self._device != "cpu":  # what the process grows by says nothing of a device's own memory
            return UNMEASURED_BYTES_PER_PIXEL
        return bytes_per_pixel(lambda side: self._run(np.zeros((1, side, side, model.channels), model.io_dtype)))

    def _clean(self, colors: Array) -> Array:
        """Denoise (N, H, W, 1 or 3) of any image dtype; for a model of fixed size, of that size. In the dtype of the model."""
        height, width = colors.shape[1:3]
        batch = convert(to_model_channels(colors, self._model.channels), self._model.io_dtype)
        clean = self._run(pad_to_multiple(batch, self._model.alignment_px))[:, :height, :width]
        return from_model_channels(clean, colors.shape[3])

    def _run(self, batch: Array) -> Array:
        session = self._live_session()
        size = max(1, self._limits.run_px // (batch.shape[1] * batch.shape[2]))
        if size >= len(batch):
            return engine.run_session(session, np.ascontiguousarray(batch))
        parts = [batch[start : start + size] for start in range(0, len(batch), size)]
        return np.concatenate([engine.run_session(session, np.ascontiguousarray(part)) for part in parts])

    def _live_session(self) -> Any:
        session = self._session
        if session is None:
            raise DaeError("this Denoiser is closed. Make a new one.")
        if not opened_here(session):  # this process was forked from the one that opened it
            if self._device != "cpu":
                raise DeviceError(
                    f"a Denoiser on {self._device} does not survive fork. Start processes with the method spawn, or make the "
                    "Denoiser in the child."
                )
            source, _, threads, *_ = self._arguments
            session = self._session = engine.open_session(source, "cpu", threads)
        return session


def _single_image(noisy: npt.ArrayLike) -> Array:
    image = as_image(noisy)
    if image.ndim == 4:
        raise InputError(f"a stream takes single images, (H, W) or (H, W, C); received a batch {image.shape}.")
    return image
