"""The Denoiser: a model file opened for use."""

from __future__ import annotations

import dataclasses
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
from ..pixels.arrays import Array, as_batch, as_image, check_values
from ..system.processor import available_cpus
from .controls import Controls, as_levels
from .grouping import until
from .limits import ENGINE_SHARE
from .open_model import Network
from .streaming import denoise_stream
from .treatment import level_in, sigma_unused, treat


class Denoiser:
    """A model opened on a device.

    Opening a model costs much more than denoising a small image: make one Denoiser and keep it. One instance may be used by
    many threads at once. It prints nothing, and never changes an array that it is given.

    Args:
        model: Path of an `.onnx` file written by dae-export, its content as bytes, or the name of a bundled model. Left out,
            or "default": the bundled model that fits an image's channels, `gray` or `color`; the second of the two is opened
            when the first image comes that is for it. Where only one of them is bundled, it takes all images.
        device: `auto` (CUDA if it works, else the CPU), `cpu`, `cuda` or `cuda:N`.
        threads: CPU threads; None for as many as this process may use.
        tile_px: Side of the tiles that larger images are cut into; None to choose: 512 on the CPU, for images of more than
            half a megapixel. Tiling changes no result; models that see the whole image cannot be tiled.
        max_memory_mb: Memory in MiB for the engine and the image of one call, beyond the 100 to 150 MiB of the process
            itself. What the engine needs per pixel is measured once, at the start (about 1 KiB for a small network), and the
            size of tiles, or the number of windows in a run, is chosen so that it stays within two fifths of that (one fifth
            for each of the two default models); the rest is for the image and its result. None: no limit.

    Raises:
        ModelError: The model is missing, damaged, or carries no contract that this version knows.
        DeviceError: CUDA was asked for by name and cannot be had.
        MissingDependencyError: onnxruntime is not installed.
        InputError: An argument is not usable; where `max_memory_mb` is too small, the text names the least that would do.

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
        # An image's color channels decide which network it is for; a missing one is opened when it is needed.
        self._networks = {colors: first for colors, source in self._sources.items() if source == self._sources[1]}
        self._used: dict[Network, None] = {}  # in the order of their first images
        self._latest = first
        self._closed = False

    @property
    def device(self) -> str:
        """Where the model really runs: `cpu` or `cuda:N`."""
        return self._first.device

    @property
    def sources(self) -> tuple[bytes | Path, ...]:
        """What its models were opened from: absolute paths, or content; one, of the two default models both."""
        return tuple(dict.fromkeys(self._sources.values()))

    @property
    def threads(self) -> int:
        """CPU threads that one call uses."""
        return self._threads

    @property
    def model(self) -> Contract:
        """What the model file says about itself.

        Of the two default models: the one that denoised the latest image; before any image, the gray one.
        """
        return self._latest.model

    @property
    def models_used(self) -> tuple[Contract, ...]:
        """What the models say that have denoised an image: one, of the two default models perhaps both; before any, none."""
        return tuple(network.model for network in list(self._used))

    def measure(self, noisy: npt.ArrayLike, bits: int | None = None) -> float | None:
        """Return the noise level that `denoise` measures in an image, or None if its model estimates the noise by itself.

        Args:
            noisy: One image, (H, W) or (H, W, C), as `denoise` takes it.
            bits: As for `denoise`.

        Returns:
            The standard deviation of the noise over pixels and channels, where white is 1.

        Raises:
            InputError: The image is not as `denoise` takes it.
        """
        image = as_image(noisy)
        check_values(image)
        if image.ndim == 4:
            raise InputError(f"the level is measured of one image, (H, W) or (H, W, C); received a batch {image.shape}.")
        return level_in(as_batch(image), self._opened, bits)

    def check(self, controls: Controls) -> None:
        """Raise InputError if a noise level is given and the model estimates the noise by itself."""
        if controls.sigma is not None and all(self._opened(colors).model.sigma is None for colors in self._sources):
            raise sigma_unused(self.model)

    def replay(self) -> Array:
        """Return what the model makes here of the golden sample in its file, (1, H, W, C) in the model's dtype."""
        return self._latest.replay()

    def denoise(
        self,
        noisy: npt.ArrayLike,
        *,
        sigma: npt.ArrayLike | None = None,
        strength: float = 1.0,
        luma: float = 1.0,
        color: float = 1.0,
        detail: float = 0.0,
        bits: int | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> Array:
        """Denoise an image or a batch of images of one size.

        A gray model denoises the channels of a color image one by one; a color model gets gray images as equal channels,
        whose mean is returned. Alpha (the last of 2 or 4 channels) is passed through untouched. Sizes that are no multiple
        of the model's alignment are padded by reflection and cropped back. A model of 8-bit pixels (`io_dtype` is "uint8")
        gets uint8 images as they are, without a copy where they need none; uint16 and float32 images are rounded to 8 bits
        for it, and its result has no more than 256 levels; the log says so once (logger `dae_runtime`, level warning).

        A color image whose channels are equal in every pixel is denoised as the gray image that it is, and so stays gray. A
        uint16 image whose largest value is exactly 1023, 4095 or 16383 is taken to have that for white.

        Args:
            noisy: (H, W), (H, W, C) or (N, H, W, C) with C from 1 to 4; uint8 0..255, uint16 0..65535 or float32 of about
                0..1 (noise may leave that range). An array of three axes is always one image. Not modified.
            sigma: Noise level, for models that are given it (`model.sigma`): the standard deviation of the noise over pixels
                and channels, where white is 1; a number from 0 to 1, or one for each image. None: measured in each image.
            strength: How much of the change is taken, from 0 (the input as it is) to 1 (all of it).
            luma: Share of the noise of brightness that is taken away, 0 to 1.
            color: Share of the noise of color that is taken away, 0 to 1; without effect on gray images.
            detail: Share of the fine structure in what was taken away that is put back, 0 to 1.
            bits: Bits that the values of uint16 images use, 9 to 16; None to recognize 10, 12 and 14.
            cancel: Asked before each run of the engine, that is before each tile of a large image; true ends the call.

        Returns:
            A new array of the same shape, dtype and range. The model's own result is clipped to black and white: float32 to
            0..1, where a smaller `strength` keeps a share of an input beyond that. Integers are rounded.

        Raises:
            InputError: The shape, the dtype, the values or an argument are not as above, or `sigma` is given and the model
                estimates the noise by itself.
            ModelError: The model gave NaN or infinity.
            DeviceError: The engine failed. Where memory ran out, this comes after trying with ever smaller tiles.
            CancelledError: `cancel` returned true.
        """
        controls = Controls(None, strength, luma, color, detail, bits)
        image = as_image(noisy)
        check_values(image)
        batch = as_batch(image)
        levels = None if sigma is None else as_levels(sigma, len(batch))
        return treat(batch, self._network, controls, levels, cancel).reshape(image.shape)

    def stream(
        self,
        images: Iterable[npt.ArrayLike],
        batch_size: int | None = None,
        *,
        sigma: float | None = None,
        strength: float = 1.0,
        luma: float = 1.0,
        color: float = 1.0,
        detail: float = 0.0,
        bits: int | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> Iterator[Array]:
        """Denoise any number of images, in order, with bounded memory.

        Images are taken in small groups, and those of a group that have one shape and dtype run as one batch; the shapes may
        change at any time. Nothing is taken from `images` before the first result is asked for. An image that waits for its
        group is copied, so that `images` may fill one array again and again, as readers of video do. An image that is not
        usable ends the stream, after the results of all images before it.

        Args:
            images: Images as `denoise` takes them, one by one; each (H, W) or (H, W, C).
            batch_size: Images per group: what is read ahead of the result. 1 gives each result at once, for live video.
                None: up to 256 small images, fewer when they are large.
            sigma: As for `denoise`: one number for all images, or None to measure each.
            strength: As for `denoise`, like the next four.
            luma: Share of the noise of brightness.
            color: Share of the noise of color.
            detail: Share of the fine structure.
            bits: Of the values of uint16 images.
            cancel: Asked before each image is taken; true ends the stream after the images that were taken before.

        Yields:
            For each image a new array of the same shape, dtype and range.

        Raises:
            InputError: `images` cannot be iterated, an argument is out of its range, or an image is not
                usable; the text holds its number, counted from 0.
            ModelError, DeviceError: As for `denoise`, with the image's number.
            Exception: Whatever `images` itself raises, as it is.
        """
        if batch_size is not None and batch_size < 1:
            raise InputError(f"batch_size must be at least 1, not {batch_size}.")
        try:
            images = iter(images)
        except TypeError as error:
            raise InputError(f"images must be an iterable of arrays, not {images!r}. For one image call denoise.") from error
        controls = Controls(sigma, strength, luma, color, detail, bits)
        self.check(controls)
        return denoise_stream(until(images, cancel), batch_size, partial(self.denoise, **dataclasses.asdict(controls)))

    def close(self) -> None:
        """Free the model. A closed Denoiser cannot be used again; closing twice does nothing."""
        self._closed = True
        for network in list(self._networks.values()):
            network.close()

    def __enter__(self) -> Denoiser:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what it was made of: the process that gets it opens the model again."""
        return type(self), (self.sources[0] if len(self.sources) == 1 else DEFAULT_MODEL, *self._options)

    def __repr__(self) -> str:
        names = " and ".join(repr(network.model.name) for network in dict.fromkeys(self._networks.values()))
        return f"Denoiser({names}, {self.model.precision}, device={self.device!r})"

    def _open(self, colors: int, device: str) -> Network:
        _, threads, tile_px, max_memory_mb = self._options
        share = ENGINE_SHARE / len(set(self._sources.values()))
        return Network(self._sources[colors], device, threads, tile_px, max_memory_mb, share)

    def _network(self, colors: int) -> Network:
        """Return the network for images of 1 or 3 color channels, about to be used."""
        network = self._opened(colors)
        self._used[network] = None
        self._latest = network
        return network

    def _opened(self, colors: int) -> Network:
        if self._closed:
            raise DaeError("this Denoiser is closed. Make a new one.")
        network = self._networks.get(colors)
        if network is None:
            device = self.device if self._options[0] == AUTO else self._options[0]
            # No lock, which a fork could leave held: of two threads that open it at once, one is in vain.
            network = self._networks.setdefault(colors, self._open(colors, device))
        return network


def _sources(model: str | os.PathLike[str] | bytes) -> dict[int, bytes | Path]:
    """Return the model for images of 1 color channel and the one for 3, mostly the same."""
    if isinstance(model, bytes | bytearray | memoryview):
        return dict.fromkeys((1, 3), bytes(model))
    return {**find_models(model)}


Denoiser.__module__ = "dae_runtime"  # by this name a pickle finds it, wherever the class stands
