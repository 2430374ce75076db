"""Training batches as a pure function of seed and step, so that a resumed run sees the same batches."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .image_set import FloatArray, ImageSet
from .patches import Places, Size, cut, draw_places

_ORDER, _PLACES = 2, 3  # part of the seed, one number for each use


@dataclass(frozen=True)
class BatchPlan:
    """Which pieces of which images make up each batch.

    An epoch passes over the images in random order as often as its steps need; each epoch has its own order.
    """

    images: ImageSet
    """Each at least as large as the patch."""
    patch: Size
    batch_size: int
    steps_per_epoch: int
    seed: int
    augment: bool = False
    """Whether to rotate and flip the patches at random."""
    part: int = 0
    """Number of this process, from 0, among those that share each batch."""
    parts: int = 1
    """How many share each batch, equally: a divisor of its size."""

    @property
    def rows(self) -> slice:
        """The rows of each batch that this process computes."""
        share = self.batch_size // self.parts
        return slice(self.part * share, (self.part + 1) * share)

    def batch(self, step: int) -> tuple[FloatArray, FloatArray]:
        """Return the `rows` of the batch of a step, counted from the beginning of the run.

        Returns:
            Input and target, float32 (N, H, W, C) in [0, 1]; see `patches.cut`.
        """
        return cut(self.images, self.places(step)[self.rows], self.patch)

    def places(self, step: int) -> Places:
        """Return the patch positions of the whole batch of a step; see `patches.draw_places`."""
        epoch, position = divmod(step, self.steps_per_epoch)
        rng = np.random.default_rng([self.seed, _PLACES, step])
        return draw_places(self.images, self._indices(epoch, position), self.patch, rng, self.augment)

    def _indices(self, epoch: int, position: int) -> npt.NDArray[np.int64]:
        count = len(self.images)
        places = np.arange(position * self.batch_size, (position + 1) * self.batch_size)
        passes = {int(number): self._order(epoch, int(number)) for number in np.unique(places // count)}
        return np.array([passes[place // count][place % count] for place in places.tolist()], np.int64)

    def _order(self, epoch: int, number: int) -> npt.NDArray[np.int64]:
        return np.random.default_rng([self.seed, _ORDER, epoch, number]).permutation(len(self.images))


def plan_batches(
    images: ImageSet,
    patch: Size,
    batch_size: int | None,
    steps_per_epoch: int | None,
    seed: int,
    augment: bool | None = None,
    steps: int | None = None,
) -> BatchPlan:
    """Return the plan of a run.

    Args:
        images: Each at least as large as the patch.
        patch: Patch size.
        batch_size: None: 64 whole images or 16 crops. At most the number of whole images; unlimited for crops.
        steps_per_epoch: None: one pass over whole images, or 500 batches of crops.
        seed: Determines orders and positions.
        augment: Whether to rotate and flip the patches. None: for crops only.
        steps: Steps of the whole run, split into equal epochs of at most `steps_per_epoch`, or of about the usual length.
    """
    whole = images.sizes == {patch}
    size = min(batch_size or DEFAULT_BATCH, len(images)) if whole else batch_size or DEFAULT_BATCH_OF_CROPS
    usual = max(1, len(images) // size) if whole else DEFAULT_STEPS
    length = steps_per_epoch or usual
    if steps is not None:
        epochs = max(1, round(steps / usual)) if steps_per_epoch is None else math.ceil(steps / steps_per_epoch)
        length = math.ceil(steps / epochs)
    return BatchPlan(images, patch, size, length, seed, not whole if augment is None else augment)


DEFAULT_BATCH = 64
"""Whole images in a batch."""
DEFAULT_BATCH_OF_CROPS = 16
"""Crops in a batch: one of 64 x 64 has several times the pixels of a digit."""
DEFAULT_STEPS = 500
"""Batches of crops in an epoch."""
