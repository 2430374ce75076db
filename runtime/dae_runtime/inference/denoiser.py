"""The Denoiser: an opened model file."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy.typing as npt

from ..contract import Contract
from ..engine.devices import AUTO, parse_device
from ..errors import DaeError, InputError
from ..models import DEFAULT_MODEL
from ..pixels.advice import Noise
from ..pixels.arrays import Array, as_batch, as_image, check_values
from ..system.bounds import LARGEST_SIDE_PX, MOST_IMAGES, MOST_MEMORY_MB, MOST_THREADS, check_callback, check_whole, shown
from ..system.processor import available_cpus
from .controls import Controls, as_levels
from .grouping import until
from .limits import ENGINE_SHARE
from .open_model import Network
from .sources import check_unchanged, sources_of, stamps_of
from .streaming import denoise_stream
from .treatment import noise_in, sigma_unused, treat


class Denoiser:
    """A model opened on a device.

    Opening a model costs more than denoising a small image: create one Denoiser and reuse it. Thread-safe. Prints nothing.

    Args:
        model: Path of an `.onnx` file of dae-export, its content as bytes, the name of a bundled model, `hf://owner/repo` of
            the Hugging Face Hub, or the models of a `PortableDenoiser`. By default the bundled model for each image: `gray`,
            `photo`, or `color` for colors with more noise than `photo` is made for, each opened with its first image.
        device: `auto` (CUDA if it works, else the CPU), `cpu`, `cuda` or `cuda:N`.
        threads: CPU threads; None for as many as this process may use.
        tile_px: Side of the tiles of larger images; None: 512 on the CPU, for images above half a megapixel. Tiling does not
            change results; models whose pixels depend on the whole image cannot be tiled.
        max_memory_mb: Memory in MiB for the engine and the image of one call, beyond the 70 to 100 MiB of the process
            itself. The engine's need per pixel is measured once on opening (about 1 KiB for a small network); tiles or
            windows are sized so that the engine stays within two fifths of the limit (a third of that for each of the three
            default models); the rest is for the image and its result. None: no limit.

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
        model: str | os.PathLike[str] | bytes | Mapping[int, bytes | Path] = DEFAULT_MODEL,
        device: str = AUTO,
        threads: int | None = None,
        tile_px: int | None = None,
        max_memory_mb: int | None = None,
    ) -> None:
        parse_device(device)
        for name, value, least, most in (
            ("threads", threads, 1, MOST_THREADS),
            ("tile_px", tile_px, 0, LARGEST_SIDE_PX),  # the model is asked for the least
            ("max_memory_mb", max_memory_mb, 0, MOST_MEMORY_MB),
        ):
            if value is not None:
                check_whole(name, value, least, most, " Leave it out for the default.")
        self._sources, self._options = sources_of(model), (device, threads, tile_px, max_memory_mb)
        self._stamps, self._threads = stamps_of(self._sources.values()), threads or available_cpus()
        self._first = first = self._open(1, device)
        # By color channels of the image; a missing network is opened on demand.
        self._networks = {colors: first for colors, source in self._sources.items() if source == self._sources[1]}
        self._closed = False

    @property
    def device(self) -> str:
        """Where the model runs: `cpu` or `cuda:N`."""
        return self._first.device

    @property
    def sources(self) -> tuple[bytes | Path, ...]:
        """Absolute paths or content of the models; several for the default ones. ModelError if one was changed meanwhile."""
        check_unchanged(self._stamps)
        return tuple(dict.fromkeys(self._sources.values()))

    @property
    def threads(self) -> int:
        """CPU threads of one call."""
        return self._threads

    @property
    def model(self) -> Contract:
        """The contract of the model file; of several that of the latest image, and before any image that for gray ones."""
        return self._latest.model

    @property
    def models_used(self) -> tuple[Contract, ...]:
        """The contracts of the models that have denoised an image; empty before the first image."""
        used = [network for network in self._distinct() if network.first_use]
        return tuple(network.model for network in sorted(used, key=lambda network: network.first_use))

    def noise(self, noisy: npt.ArrayLike, bits: int | None = None) -> Noise | None:
        """Return what is seen of the noise of an image, or None if its model estimates the noise by itself.

        Args:
            noisy: One image, (H, W) or (H, W, C), as for `denoise`.
            bits: As for `denoise`.

        Raises:
            InputError: The image is not valid for `denoise`.
        """
        return noise_in(noisy, self._opened, bits)

    def measure(self, noisy: npt.ArrayLike, bits: int | None = None) -> float | None:
        """Return the standard deviation of the noise over pixels and channels, where white is 1; else as `noise`."""
        return None if (found := self.noise(noisy, bits)) is None else found.level

    def advise(self, noisy: npt.ArrayLike, bits: int | None = None) -> float | None:
        """Return the level that `denoise` tells its model without `sigma`: as `measure`, or less where that may be texture."""
        return None if (found := self.noise(noisy, bits)) is None else found.advised

    def check(self, controls: Controls) -> None:
        """Raise InputError if the model cannot have a noise level told, or cannot take as many copies of an image."""
        self._first.check(controls.ensemble)
        if controls.sigma is not None and all(self._opened(colors).model.sigma is None for colors in (1, 3)):
            raise sigma_unused(self.model)

    def replay(self) -> Array:
        """Return the model's output here for the golden sample in its file, (1, H, W, C) in the model's dtype."""
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
        ensemble: int = 1,
        cancel: Callable[[], bool] | None = None,
        overwrite_input: bool = False,
    ) -> Array:
        """Denoise an image, or a batch of images of one size.

        A gray model denoises the channels of a color image one by one; a color model gets gray images as equal channels,
        whose mean is returned. Alpha (the last of 2 or 4 channels) passes unchanged. Sizes that are not a multiple of the
        model's alignment are padded by reflection and cropped back. A model with 8-bit edges (`io_dtype` "uint8") gets uint8
        images without conversion; uint16 and float32 images are rounded to 8 bits, which is logged once as a warning.

        Where alpha is 0, pixels come out unchanged, and their colors do not count. Noise that is equal in all channels of a
        color image is removed from its brightness by the gray one of the default models; a color model alone keeps it. A
        color image whose channels are equal in every pixel is denoised as the gray image that it is, and so stays gray. A
        uint16 image whose largest value is exactly 1023, 4095 or 16383 is taken to have that for white.

        Args:
            noisy: (H, W), (H, W, C) or (N, H, W, C) with C from 1 to 4; uint8 0..255, uint16 0..65535 or float32 of about
                0..1 (noise may leave that range). An array with three axes is always one image.
            sigma: Noise level, for models that are given it (`model.sigma`): the standard deviation of the noise over pixels
                and channels, where white is 1; a number from 0 to 1, or one for each image. None: as `advise` finds.
            strength: Share of the change to apply, from 0 (the input unchanged) to 1 (all of it).
            luma: Share of the brightness noise to remove, 0 to 1.
            color: Share of the color noise to remove, 0 to 1; without effect on gray images.
            detail: Share of the fine structure in the removed part to put back, 0 to 1.
            bits: Bits that the values of uint16 images use, 9 to 16; None to detect 10, 12 and 14.
            ensemble: Copies of the image, flipped and turned, whose results are averaged, 1, 2, 4 or 8; each takes its time.
            cancel: Called before each run of the engine (each tile of a large image), and by another thread ten times a second
                while one lasts; true ends the call, also a run that would never end.
            overwrite_input: Whether `noisy` may become the result, so that a large image takes its memory once, not twice;
                its content is lost then, also on an error. By default it is not modified.

        Returns:
            A new array of the same shape, dtype and range, or `noisy` if it was overwritten. The model's output is clipped to
            the value range; with a `strength` below 1, float32 inputs beyond 0..1 keep their share. Integers are rounded.

        Raises:
            InputError: The shape, dtype, values or an argument are not as above, or the model has no use for a `sigma`.
            ModelError: The model returned NaN or infinity.
            DeviceError: The engine failed; out of memory only after trying smaller tiles.
            CancelledError: `cancel` returned true.
        """
        told = sigma if isinstance(sigma, int | float) else None
        controls, image = Controls(told, strength, luma, color, detail, bits, ensemble), as_image(noisy)
        check_callback("cancel", cancel)
        check_values(image)
        batch = as_batch(image)
        levels = None if sigma is None else as_levels(sigma, len(batch))
        may_overwrite = overwrite_input and image.flags.writeable
        return treat(batch, self._opened, controls, levels, cancel, may_overwrite).reshape(image.shape)

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
        ensemble: int = 1,
        cancel: Callable[[], bool] | None = None,
    ) -> Iterator[Array]:
        """Denoise any number of images, in order, with bounded memory.

        Images are taken in small groups, of which those of equal shape and dtype run as one batch; none is taken before the
        first result is requested. Waiting images are copied: `images` may reuse one array, as video readers do. An invalid
        image ends the stream after the results of those before it.

        Args:
            images: Images as `denoise` takes them, one by one; each (H, W) or (H, W, C).
            batch_size: Images per group; 1 returns each result at once, for live video. None: up to 256, fewer large ones.
            sigma: As for `denoise`: one number for all images, or None to measure each.
            strength: As for `denoise`, like the next five.
            luma: Share of the brightness noise to remove.
            color: Share of the color noise to remove.
            detail: Share of the fine structure to put back.
            bits: Bits that the values of uint16 images use.
            ensemble: Copies of each image.
            cancel: Called before each image is taken; true ends the stream after the images already taken.

        Yields:
            For each image a new array of the same shape, dtype and range.

        Raises:
            InputError: `images` cannot be iterated, or an argument is out of its range.
            InputError, ModelError, DeviceError: As for `denoise`; the message holds the image's number, counted from 0.
            Exception: Exceptions of `images` propagate unchanged.
        """
        if batch_size is not None:
            check_whole("batch_size", batch_size, 1, MOST_IMAGES)
        check_callback("cancel", cancel)
        try:
            images = iter(images)
        except TypeError as error:
            raise InputError(f"images must be an iterable of arrays, not {shown(images)}. For one, call denoise.") from error
        controls = Controls(sigma, strength, luma, color, detail, bits, ensemble)
        self.check(controls)
        return denoise_stream(until(images, cancel), batch_size, partial(self.denoise, **dataclasses.asdict(controls)))

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
        several = DEFAULT_MODEL if all(isinstance(source, Path) for source in self.sources) else self._sources
        return type(self), (self.sources[0] if len(self.sources) == 1 else several, *self._options)

    def __repr__(self) -> str:
        names = " and ".join(repr(network.model.name) for network in self._distinct())
        return f"Denoiser({names}, {self.model.precision}, device={self.device!r})"

    def _open(self, colors: int, device: str) -> Network:
        _, threads, tile_px, max_memory_mb = self._options
        share = ENGINE_SHARE / len(set(self._sources.values()))
        return Network(self._sources[colors], device, threads, tile_px, max_memory_mb, share)

    @property
    def _latest(self) -> Network:
        return max(self._distinct(), key=lambda network: network.last_use)

    def _distinct(self) -> list[Network]:
        return list(dict.fromkeys(list(self._networks.values())))

    def _opened(self, colors: int) -> Network:
        if self._closed:
            raise DaeError("this Denoiser is closed. Create a new one.")
        network = self._networks.get(colors)
        if network is None:
            # No lock, which a fork could leave held; two threads may open the model twice, and one copy is dropped.
            network = self._open(colors, self.device if self._options[0] == AUTO else self._options[0])
            for key, source in self._sources.items():
                if source == self._sources[colors]:
                    network = self._networks.setdefault(key, network)
        return network


Denoiser.__module__ = "dae_runtime"  # the name in pickles, wherever the class is defined
