"""Cut a batch into runs of the engine: whole images, tiles, or windows of a fixed size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from ..contract import ImageSpec
from ..pixels.arrays import Array, FloatArray, blend, color_channels
from ..pixels.channels import copy_channels
from .controls import Shares
from .limits import Limits
from .patches import cut_patches
from .tiles import cut_tiles, plan_tiles

Piece = tuple[Array, FloatArray | None, Callable[[Array], None]]
"""Colors (N, H, W, 1 or 3) for one run of the engine, the noise levels of their images, (N,), and a function that writes their
denoised version to the result."""


class Cut:
    """A batch in pieces: `for pixels, levels, place in cut.pieces(): place(clean(pixels, levels))`, and `result` is complete.

    Args:
        batch: (N, H, W, C) with C from 1 to 4, uint8, uint16 or float32; read only.
        images: Image sizes and channels of the model.
        limits: Limits of a piece.
        shares: Shares of the change to apply.
        levels: (N,) float32, the noise level of each image; None for a model that is not given it.
        overwrite: Whether the result may take the place of the batch, so that a large image takes its memory only once.
    """

    result: Array
    """A new array like the batch, or the batch: colors denoised, alpha as it was. Complete once all pieces are taken."""

    def __init__(
        self,
        batch: Array,
        images: ImageSpec,
        limits: Limits,
        shares: Shares,
        levels: FloatArray | None = None,
        *,
        overwrite: bool = False,
    ) -> None:
        self._batch, self._images, self._limits, self._shares, self._levels = batch, images, limits, shares, levels
        self._overwrite = overwrite

    def pieces(self) -> Iterator[Piece]:
        """Yield the pieces; place each before taking the next."""
        batch, images, limits = self._batch, self._images, self._limits
        count, height, width, channels = batch.shape
        colors = color_channels(channels)
        repeats = 3 if (images.channels, colors) == (1, 3) else 1
        in_windows = images.fixed_size not in (None, (height, width))
        in_tiles = limits.tile_px is not None and height * width > limits.tile_above_px
        size = max(1, limits.run_px // (_padded(height, images) * _padded(width, images) * repeats))
        if colors == channels and count <= size and not (in_windows or in_tiles):
            yield batch, self._levels, self._take_whole
            return
        if self._overwrite and not in_windows:  # windows overlap where they have been written
            self.result = batch
        else:
            self.result = np.empty(batch.shape, batch.dtype)
            self.result[..., colors:] = batch[..., colors:]
        source, target = batch[..., :colors], self.result[..., :colors]
        if in_windows:
            yield from self._windows(source, target, limits.run_px // repeats)
        elif in_tiles and limits.tile_px is not None:
            tiling = plan_tiles((height, width), limits.tile_px, images.alignment_px, images.halo_px or 0)
            size = max(1, limits.run_px // (tiling.height_px * tiling.width_px * repeats))
            for number, (image, clean) in enumerate(zip(source, target, strict=True)):
                for tiles, place in cut_tiles(image, clean, tiling, size, self._shares):
                    yield tiles, self._levels_of(slice(number, number + 1), len(tiles)), place
        else:
            for start in range(0, count, size):
                part = slice(start, start + size)
                yield source[part], self._levels_of(part), partial(self._finish, target[part], source[part])

    def _windows(self, source: Array, target: Array, run_px: int) -> Iterator[Piece]:
        count, height, width, _ = source.shape
        window_px = self._images.fixed_size or (height, width)
        windows = max(1, run_px // math.prod(window_px))
        images = max(1, min(count, windows, run_px // (height * width)))
        for start in range(0, count, images):
            part = slice(start, start + images)
            write = partial(self._write_strip, target[part], source[part])
            for patches, place in cut_patches(source[part], window_px, write, max(1, windows // images)):
                yield patches, self._levels_of(part, len(patches) // len(source[part])), place

    def _levels_of(self, part: slice, times: int = 1) -> FloatArray | None:
        """Return the levels of some images, for so many pieces of each, image by image within a piece's place."""
        return None if self._levels is None else np.tile(self._levels[part], times)

    def _take_whole(self, clean: Array) -> None:
        # `clean` is a new array; another copy would cost 3 % for small images.
        self.result = np.ascontiguousarray(blend(self._batch, clean, *self._shares))

    def _write_strip(self, target: Array, noisy: Array, top: int, strip: FloatArray) -> None:
        rows = slice(top, top + strip.shape[1])
        np.minimum(strip, 1, out=strip)  # blending can round above 1
        self._finish(target[:, rows], noisy[:, rows], strip)

    def _finish(self, target: Array, noisy: Array, clean: Array) -> None:
        copy_channels(blend(noisy, clean, *self._shares), target)


def _padded(length_px: int, images: ImageSpec) -> int:
    """Return a side of what the engine gets for an image."""
    return length_px + -length_px % images.alignment_px
