"""One model opened on one device, with the limits of a run of the engine."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..contract import Contract
from ..engine import session as engine
from ..engine.fork import is_own_session
from ..engine.golden import golden_arrays, golden_sigma
from ..engine.opening import open_model
from ..errors import CancelledError, DaeError, DeviceError
from ..pixels.arrays import (
    Array,
    FloatArray,
    color_channels,
    convert,
    from_model_channels,
    limit_to_range,
    pad_to_multiple,
    to_model_channels,
)
from ..pixels.channels import packed
from .controls import Shares
from .cutting import Cut
from .ensemble import check_ensemble, ensemble_mean
from .limits import (
    ENGINE_SHARE,
    UNMEASURED_BYTES_PER_PIXEL,
    Limits,
    bytes_per_pixel,
    default_limits,
    is_shortage,
    memory_limits,
    probe_shape,
    smallest_run,
    tile_limits,
)
from .purpose import fits, purpose_of
from .tiles import smallest_tile

RUN_PIXELS = {"cpu": 2**18, "cuda": 2**22}
"""Most pixels of one run (at least one image or tile); limits the memory of the activations."""

_USES = itertools.count(1)

logger = logging.getLogger(__name__)


class Network:
    """One model on one device. Thread-safe; a forked child opens the model again.

    Args:
        source: Absolute path or content of the model file.
        device: `auto`, `cpu`, `cuda:N` or another device name.
        threads: CPU threads; None for as many as this process may use.
        tile_px: Side of the tiles of larger images; None to choose.
        max_memory_mb: As for `Denoiser`; None for no limit.
        share: Share of `max_memory_mb` for this network's engine.

    Raises:
        ModelError, DeviceError, MissingDependencyError, InputError: As for `Denoiser`.
    """

    def __init__(
        self,
        source: bytes | Path,
        device: str,
        threads: int | None,
        tile_px: int | None,
        max_memory_mb: int | None,
        share: float = ENGINE_SHARE,
    ) -> None:
        self._source, self._threads, self._purpose = source, threads, purpose_of(source)
        self.first_use = self.last_use = 0
        """Places of its first and its latest call among those of all networks; 0 before any."""
        self._session: Any
        self.model: Contract
        self._session, self.model = open_model(source, device, threads)
        self.device = engine.session_device(self._session)
        self._images = self.model.images
        self.limits = default_limits(self._images, RUN_PIXELS.get(self.device.partition(":")[0], RUN_PIXELS["cpu"]))
        self._said: dict[str, object] = {}
        if max_memory_mb is not None:
            least_px = smallest_run(self._images)
            need = self._bytes_per_pixel(least_px, share * max_memory_mb * 2**20)
            self.limits = memory_limits(self._images, self.limits, need, max_memory_mb, share)
        if tile_px is not None:
            self.limits = tile_limits(self._images, self.limits, tile_px)

    def denoise(
        self,
        batch: Array,
        shares: Shares,
        cancel: Callable[[], bool] | None = None,
        levels: FloatArray | None = None,
        *,
        overwrite: bool = False,
        ensemble: int = 1,
    ) -> Array:
        """Denoise a checked batch.

        Args:
            batch: (N, H, W, C) with C from 1 to 4, uint8, uint16 or float32; read only, unless it may be overwritten.
            shares: Shares of the change to apply.
            cancel: Called before each run of the engine.
            levels: (N,) float32, the noise level of each image; given exactly if the model is given it.
            overwrite: Whether the result may take the place of the batch, whose content is lost then, on an error too.
            ensemble: Copies of each image whose results are averaged: 1, 2, 4 or 8.

        Returns:
            A new array of the same shape and dtype, or the batch.

        Raises:
            InputError: The model cannot take so many copies.
            ModelError: The model returned NaN or infinity.
            DeviceError: The engine failed; out of memory only after trying smaller tiles.
            CancelledError: `cancel` returned true.
        """
        self.last_use = next(_USES)
        self.first_use = self.first_use or self.last_use
        self._warn_of(batch)
        self.check(ensemble)
        levels = self._within_range(levels)
        clean = partial(self._clean_once if overwrite else self._clean, cancel=cancel, ensemble=ensemble)
        if overwrite:
            return self._denoise_within(self.limits, batch, shares, cancel, levels, clean, overwrite=True)
        while True:
            limits = self.limits
            try:
                return self._denoise_within(limits, batch, shares, cancel, levels, clean)
            except (DeviceError, MemoryError) as error:
                self._shrink(limits, error)

    def check(self, ensemble: int) -> None:
        """Raise InputError if the model cannot take so many copies of an image."""
        check_ensemble(self._images, ensemble, self.model.name)

    def replay(self) -> Array:
        """Return what the model makes here of its golden sample, in its own dtype."""
        return self._run(golden_arrays(self.model)[0], golden_sigma(self.model))

    def close(self) -> None:
        """Free the model."""
        self._session = None

    def _warn_of(self, batch: Array) -> None:
        """Warn of images that this model can take only in part."""
        if self.model.io_dtype == "uint8" and batch.dtype != np.uint8:
            self.warn_once(
                "the model %s has 8-bit edges: %s images are rounded to steps of 1/255. Use a model with float32 edges "
                "(dae-export --io float32) for full precision",
                batch.dtype,
            )
        if self._images.channels == 3 and color_channels(batch.shape[3]) == 1:
            self.warn_once(
                "the model %s is made for color images and may remove little noise from gray ones. Use a gray model for these "
                "(such as the bundled gray), or the default models"
            )

        if self._purpose is not None and not fits(self._purpose, batch):
            self.warn_once(
                "the model %s is made for %s and spoils other images, such as photographs. Use the default models for these: "
                "leave the model out, or give gray, photo or color",
                self._purpose.words,
            )

    def warn_once(self, text: str, *values: object) -> None:
        """Log a warning that begins with the model's name, unless it was logged before."""
        mine = object()
        if self._said.setdefault(text, mine) is mine:  # only one thread succeeds
            logger.warning(text, self.model.name, *values)

    def _within_range(self, levels: FloatArray | None) -> FloatArray | None:
        """Limit noise levels to the highest of the training; warn once if one is higher."""
        if levels is None or self.model.sigma is None:
            return None
        high = np.float32(self.model.sigma.high)
        if levels.max(initial=0) > high:
            self.warn_once(
                "the model %s was trained on noise up to %.0f of 255; stronger noise is treated as that", 255 * high
            )
        return np.minimum(levels, high)

    def _denoise_within(
        self,
        limits: Limits,
        batch: Array,
        shares: Shares,
        cancel: Callable[[], bool] | None,
        levels: FloatArray | None,
        clean: Callable[[Array, FloatArray | None], Array],
        overwrite: bool = False,
    ) -> Array:
        cut = Cut(batch, self._images, limits, shares, levels, overwrite=overwrite)
        for pixels, levels_of_pixels, place in cut.pieces():
            place(clean(pixels, levels_of_pixels))
        return cut.result

    def _clean_once(self, pixels: Array, levels: FloatArray | None, cancel: Callable[[], bool] | None, ensemble: int) -> Array:
        """Denoise a piece of what cannot be cut anew: in smaller ones where memory runs out, or has since it was cut."""
        limits = self.limits
        if not self._images.tileable or math.prod(pixels.shape[1:3]) <= limits.tile_above_px:
            try:
                return self._clean(pixels, levels, cancel, ensemble)
            except (DeviceError, MemoryError) as error:
                self._shrink(limits, error)
        return self.denoise(convert(pixels, self.model.io_dtype), Shares(1, 1), cancel, levels, ensemble=ensemble)

    def _shrink(self, limits: Limits, error: DeviceError | MemoryError) -> None:
        """Use smaller tiles from now on, or raise `error` if that cannot help."""
        if not is_shortage(error):
            raise error
        if not self._images.tileable:
            raise DeviceError(f"{error} This model cannot be tiled: give smaller images.") from error
        smaller = limits.halved(smallest_tile(self._images.alignment_px, self._images.halo_px or 0))
        if smaller is None:
            raise error
        if self.limits == limits:  # else another thread has done so
            self.limits = smaller
            logger.warning("out of memory; continuing with tiles of %d pixels", smaller.tile_px)

    def _bytes_per_pixel(self, least_px: int, budget_bytes: float) -> float:
        if self.device != "cpu":  # device memory does not show in the process
            return UNMEASURED_BYTES_PER_PIXEL

        def run(pixels: int) -> int:
            batch = np.zeros(probe_shape(self._images, pixels), self.model.io_dtype)
            self._run(batch, None if self.model.sigma is None else np.zeros((len(batch), 1), np.float32))
            return batch.size // self._images.channels

        return bytes_per_pixel(run, least_px, budget_bytes)

    def _clean(self, colors: Array, levels: FloatArray | None, cancel: Callable[[], bool] | None, ensemble: int) -> Array:
        """Denoise (N, H, W, 1 or 3) of any image dtype, in the fixed size if the model has one; return the model's dtype."""
        height, width = colors.shape[1:3]
        batch = convert(to_model_channels(packed(colors), self._images.channels), self.model.io_dtype)
        sigma = None if levels is None else np.repeat(levels, len(batch) // len(colors))[:, None]  # once for each channel
        padded = pad_to_multiple(batch, self._images.alignment_px)
        clean = self._run(padded, sigma, cancel=cancel, ensemble=ensemble)[:, :height, :width]
        return from_model_channels(clean, colors.shape[3])

    def _run(
        self,
        batch: Array,
        sigma: FloatArray | None = None,
        *,
        cancel: Callable[[], bool] | None = None,
        ensemble: int = 1,
    ) -> Array:
        session = self._live_session()
        size = max(1, self.limits.run_px // (batch.shape[1] * batch.shape[2]))
        if size >= len(batch):

            def run(copy: Array) -> Array:
                if cancel is not None and cancel():
                    raise CancelledError("denoising was cancelled by the caller.")
                return limit_to_range(engine.run_session(session, np.ascontiguousarray(copy), sigma, cancel=cancel))

            return ensemble_mean(run, batch, ensemble)
        parts = [slice(start, start + size) for start in range(0, len(batch), size)]
        levels = [None if sigma is None else sigma[part] for part in parts]
        runs = zip(parts, levels, strict=True)
        return np.concatenate([self._run(batch[part], level, cancel=cancel, ensemble=ensemble) for part, level in runs])

    def _live_session(self) -> Any:
        session = self._session
        if session is None:
            raise DaeError("this Denoiser is closed. Create a new one.")
        if not is_own_session(session):  # forked from the process that opened it
            if self.device != "cpu":
                raise DeviceError(
                    f"a Denoiser on {self.device} does not survive fork. Start processes with the method spawn, or create "
                    "the Denoiser in the child."
                )
            session = self._session = open_model(self._source, "cpu", self._threads)[0]
        return session
