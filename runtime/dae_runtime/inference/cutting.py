"""How a batch of images is cut into runs of the engine: whole images, tiles of large ones, or windows of a fixed size."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..contract import Contract
from ..pixels.arrays import Array, color_channels, convert
from .limits import Limits
from .patches import denoise_patches
from .tiles import denoise_tiles, plan_tiles


@dataclass(frozen=True)
class Cutter:
    """Takes a batch through the engine in pieces."""

    model: Contract
    clean: Callable[[Array], Array]
    """Maps (N, H, W, 1 or 3) of an image dtype to the denoised colors, in the dtype that the model gives."""
    finish: Callable[[Array, Array], Array]
    """Maps noisy and denoised colors to the result, in the dtype of the noisy ones."""

    def denoise(self, batch: Array, limits: Limits) -> Array:
        """Return a new (N, H, W, C): colors denoised, alpha as it was."""
        count, height, width, channels = batch.shape
        colors = color_channels(channels)
        repeats = 3 if (self.model.channels, colors) == (1, 3) else 1
        fixed = self.model.fixed_size
        in_windows = fixed is not None and fixed != (height, width)
        in_tiles = limits.tile_px is not None and height * width > limits.tile_above_px
        size = max(1, limits.run_px // (height * width * repeats))
        if colors == channels and count <= size and not (in_windows or in_tiles):
            return np.ascontiguousarray(self._run(batch))  # new already: another copy would cost small images 3%
        result = np.empty(batch.shape, batch.dtype)
        result[..., colors:] = batch[..., colors:]
        source, target = batch[..., :colors], result[..., :colors]
        if in_windows and fixed is not None:
            self._by_windows(source, target, fixed, limits.run_px // repeats)
        elif in_tiles and limits.tile_px is not None:
            tiling = plan_tiles((height, width), limits.tile_px, self.model.alignment_px, self.model.halo_px or 0)
            size = max(1, limits.run_px // (tiling.height_px * tiling.width_px * repeats))
            for image, clean in zip(source, target, strict=True):
                denoise_tiles(image, clean, tiling, size, self._run)
        else:
            for start in range(0, count, size):
                target[start : start + size] = self._run(source[start : start + size])
        return result

    def _run(self, colors: Array) -> Array:
        return self.finish(colors, self.clean(colors))

    def _by_windows(self, source: Array, target: Array, window_px: tuple[int, int], run_px: int) -> None:
        count, height, width, _ = source.shape
        windows = max(1, run_px // math.prod(window_px))
        images = max(1, min(count, windows, run_px // (height * width)))
        for start in range(0, count, images):
            part = source[start : start + images]
            for top, strip in denoise_patches(part, window_px, self._clean_float, max(1, windows // images)):
                rows = slice(top, top + strip.shape[1])
                np.minimum(strip, 1, out=strip)  # what is blended of values up to 1 may come out a rounding above
                target[start : start + images, rows] = self.finish(part[:, rows], strip)

    def _clean_float(self, colors: Array) -> npt.NDArray[np.float32]:
        return convert(self.clean(colors), np.float32)
