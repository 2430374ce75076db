"""The Denoiser: an opened model file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy.typing as npt

from ..contract import Contract
from ..engine.devices import AUTO, parse_device
from ..errors import DaeError, InputError
from ..models import DEFAULT_MODEL, find_models
from ..pixels.arrays import Array, as_batch, as_image, check_strength, check_values, color_channels
from ..system.processor import available_cpus
from .grouping import WINDOW_VALUES, by_shape, until, windows
from .limits import ENGINE_SHARE
from .open_model import Network


class Denoiser:
    """A model opened on a device.

    Opening a model costs much more than denoising a small image: create one Denoiser and reuse it. Thread-safe. Prints nothing
    and never modifies an input.

    Args:
        model: Path of an `.onnx` file written by dae-export, its content as bytes, or the name of a bundled model. By
            default the bundled model for the channels of each image, `gray` or `color`; the second is opened with its first
            image. If only one of them is bundled, it takes all images.
        device: `auto` (CUDA if it works, else the CPU), `cpu`, `cuda` or `cuda:N`.
        threads: CPU threads; None for as many as this process may use.
        tile_px: Side of the tiles of larger images; None: 512 on the CPU, for images above half a megapixel. Tiling does not
            change results; models whose pixels depend on the whole image cannot be tiled.
        max_memory_mb: Memory in MiB for the engine and the image of one call, beyond the 100 to 150 MiB of the process
            itself. The engine's need per pixel is measured once on opening (about 1 KiB for a small network); tiles or
            windows are sized so that the engine stays within two fifths of the limit (one fifth for each of the two default
            models); the rest is for the image and its result. None: no limit.

    Raises:
        ModelError: The model is missing, damaged, or has no contract that this version reads.
        DeviceError: The requested device is not available.
        MissingDependencyError: onnxruntime is not installed.
        InputError: An argument is invalid; for a too small `max_memory_mb` the message names the minimum.

    Example:
        >>> with Denoiser("model.onnx") as denoiser:
        ...     clean = denoiser.denoise(noisy)
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes = DEFAULT_MODEL,
        device: str = AUTO,
        threads: int | None = None,
        tile_px: int | None = None,
        max_memory_mb: int | None = None,
    ) -> None:
        parse_device(device)
        self._sources = _sources(model)
        self._options = (device, threads, tile_px, max_memory_mb)
        self._threads = threads or available_cpus()
        self._first = first = self._open(1, device)
        # By color channels of the image; a missing network is opened on demand.
        self._networks = {colors: first for colors, source in self._sources.items() if source == self._sources[1]}
        self._used: dict[Network, None] = {}  # ordered by first use
        self._latest = first
        self._closed = False

    @property
    def device(self) -> str:
        """Where the model runs: `cpu` or `cuda:N`."""
        return self._first.device

    @property
    def sources(self) -> tuple[bytes | Path, ...]:
        """Absolute paths or content of the models; two for the default models."""
        return tuple(dict.fromkeys(self._sources.values()))

    @property
    def threads(self) -> int:
        """CPU threads of one call."""
        return self._threads

    @property
    def model(self) -> Contract:
        """The contract of the model file.

        With the two default models: of the one that denoised the latest image; before any image, of the gray one.
        """
        return self._latest.model

    @property
    def models_used(self) -> tuple[Contract, ...]:
        """The contracts of the models that have denoised an image; empty before the first image."""
        return tuple(network.model for network in list(self._used))

    def denoise(self, noisy: npt.ArrayLike, *, strength: float = 1.0, cancel: Callable[[], bool] | None = None) -> Array:
        """Denoise an image, or a batch of images of one size.

        A gray model denoises the channels of a color image one by one; a color model gets gray images as equal channels,
        whose mean is returned. Alpha (the last of 2 or 4 channels) passes unchanged. Sizes that are not a multiple of the
        model's alignment are padded by reflection and cropped back. A model with 8-bit edges (`io_dtype` "uint8") gets uint8
        images without conversion; uint16 and float32 images are rounded to 8 bits, which is logged once as a warning.

        Args:
            noisy: (H, W), (H, W, C) or (N, H, W, C) with C from 1 to 4; uint8 0..255, uint16 0..65535 or float32 of about
                0..1 (noise may leave that range). An array with three axes is always one image. Not modified.
            strength: Share of the change to apply, from 0 (the input unchanged) to 1 (all of it).
            cancel: Called before each run of the engine (each tile of a large image); true ends the call.

        Returns:
            A new array of the same shape, dtype and range. The model's output is clipped to the value range; with a `strength`
            below 1, float32 inputs beyond 0..1 keep their share. Integers are rounded.

        Raises:
            InputError: The shape, dtype or values are not as above.
            ModelError: The model returned NaN or infinity.
            DeviceError: The engine failed; out of memory only after trying smaller tiles.
            CancelledError: `cancel` returned true.
        """
        check_strength(strength)
        image = as_image(noisy)
        check_values(image)
        batch = as_batch(image)
        network = self._network(color_channels(batch.shape[3]))
        return network.denoise(batch, strength, cancel).reshape(image.shape)

    def stream(
        self,
        images: Iterable[npt.ArrayLike],
        batch_size: int | None = None,
        *,
        strength: float = 1.0,
        cancel: Callable[[], bool] | None = None,
    ) -> Iterator[Array]:
        """Denoise any number of images, in order, with bounded memory.

        Images are taken in small groups; images of equal shape and dtype in a group run as one batch. Shapes may change at any
        time. Nothing is taken from `images` before the first result is requested. Waiting images are copied, so `images` may
        reuse one array, as video readers do. An invalid image ends the stream after the results of all images before it.

        Args:
            images: Images as `denoise` takes them, one by one; each (H, W) or (H, W, C).
            batch_size: Images per group, read ahead of the result. 1 returns each result at once, for live video.
                None: up to 256 small images, fewer when they are large.
            strength: As for `denoise`.
            cancel: Called before each image is taken; true ends the stream after the images already taken.

        Yields:
            For each image a new array of the same shape, dtype and range.

        Raises:
            InputError: `images` cannot be iterated, `batch_size` is below 1, `strength` is outside 0..1, or an image is
                invalid; the message holds its number, counted from 0.
            ModelError, DeviceError: As for `denoise`, with the image's number.
            Exception: Exceptions of `images` propagate unchanged.
        """
        if batch_size is not None and batch_size < 1:
            raise InputError(f"batch_size must be at least 1, not {batch_size}.")
        try:
            images = iter(images)
        except TypeError as error:
            raise InputError(f"images must be an iterable of arrays, not {images!r}. For one image call denoise.") from error
        check_strength(strength)
        return self._stream(_single_images(until(images, cancel), batch_size), batch_size, strength)

    def close(self) -> None:
        """Free the model. A closed Denoiser cannot be used again; closing twice has no effect."""
        self._closed = True
        for network in list(self._networks.values()):
            network.close()

    def __enter__(self) -> Denoiser:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the arguments; unpickling opens the model again."""
        return type(self), (self.sources[0] if len(self.sources) == 1 else DEFAULT_MODEL, *self._options)

    def __repr__(self) -> str:
        names = " and ".join(repr(network.model.name) for network in dict.fromkeys(self._networks.values()))
        return f"Denoiser({names}, {self.model.precision}, device={self.device!r})"

    def _open(self, colors: int, device: str) -> Network:
        _, threads, tile_px, max_memory_mb = self._options
        share = ENGINE_SHARE / len(set(self._sources.values()))
        return Network(self._sources[colors], device, threads, tile_px, max_memory_mb, share)

    def _network(self, colors: int) -> Network:
        """Return the network for images of 1 or 3 color channels."""
        if self._closed:
            raise DaeError("this Denoiser is closed. Create a new one.")
        network = self._networks.get(colors)
        if network is None:
            device = self.device if self._options[0] == AUTO else self._options[0]
            # No lock, which a fork could leave held; two threads may open the model twice, and one copy is dropped.
            network = self._networks.setdefault(colors, self._open(colors, device))
        self._used[network] = None
        self._latest = network
        return network

    def _stream(self, images: Iterator[Array], batch_size: int | None, strength: float) -> Iterator[Array]:
        number = 0
        for window in windows(images, lambda image: image.size, batch_size):
            yield from self._denoise_window(window, number, strength)
            number += len(window)

    def _denoise_window(self, images: list[Array], number: int, strength: float) -> Iterator[Array]:
        """Yield the results of one group; `number` is that of its first image."""
        if len(images) > 1:
            with contextlib.suppress(DaeError):  # raised before the first result; single runs find the image
                yield from by_shape(images, lambda batch: self.denoise(batch, strength=strength))
                return
        for place, image in enumerate(images, number):
            yield _with_number(place, partial(self.denoise, image, strength=strength))


def _sources(model: str | os.PathLike[str] | bytes) -> dict[int, bytes | Path]:
    """Return the models for images of 1 and of 3 color channels."""
    if isinstance(model, bytes | bytearray | memoryview):
        return dict.fromkeys((1, 3), bytes(model))
    return {**find_models(model)}


def _single_images(images: Iterable[npt.ArrayLike], batch_size: int | None) -> Iterator[Array]:
    for number, noisy in enumerate(images):
        image = _with_number(number, partial(_single_image, noisy))
        # An image that fills a group is denoised before the next is taken, which may reuse its memory.
        fills_group = image.size >= WINDOW_VALUES if batch_size is None else batch_size == 1
        yield image if fills_group else image.copy()


def _with_number(number: int, work: Callable[[], Array]) -> Array:
    """Call `work`; its errors name the image of the stream."""
    try:
        return work()
    except DaeError as error:
        raise type(error)(f"image {number} of the stream (counted from 0): {error}") from error


def _single_image(noisy: npt.ArrayLike) -> Array:
    image = as_image(noisy)
    if image.ndim == 4:
        raise InputError(f"a stream takes single images, (H, W) or (H, W, C); received a batch {image.shape}.")
    return image


Denoiser.__module__ = "dae_runtime"  # the name in pickles, wherever the class is defined
