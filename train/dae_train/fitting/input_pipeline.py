"""Input pipelines: patches cut on the host ahead of time, or on the device from images kept there."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Protocol

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from ..data.batches import BatchPlan
from ..data.image_set import FloatArray, Images, Pixels
from ..data.patches import Places, Size

DEVICE_MEMORY = 10**9
"""Most bytes of images to keep on the device."""
_PREFETCH = 4  # batches

Arrays = tuple[npt.NDArray[Any], ...]
BatchNoise = Callable[[FloatArray, int], FloatArray]
"""Maps the images of a step, (N, H, W, C) in [0, 1], and the step number to noisy images."""


class Feed(Protocol):
    """A source of batches for a Keras model."""

    def batch(self, step: int) -> Arrays:
        """Return the rows of this process of the model inputs of a step, counted from the start of the run."""

    def tensors(self) -> tuple[list[Any], Any, Any]:
        """Return the inputs of a Keras model, and the network input and target derived from them."""


class HostFeed:
    """Cuts patches with numpy in a background thread, a few batches ahead."""

    def __init__(self, plan: BatchPlan, noise: BatchNoise | None = None) -> None:
        """Add `noise` to the images, not to the targets."""
        self.plan, self.noise = plan, noise
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._pending: dict[int, Future[Arrays]] = {}

    def batch(self, step: int) -> Arrays:
        """Return the images, and the targets where they differ: float32 (N, H, W, C) in [0, 1]."""
        for later in range(step, step + _PREFETCH):
            if later not in self._pending:
                self._pending[later] = self._thread.submit(self._cut, later)
        return self._pending.pop(step).result()

    def _cut(self, step: int) -> Arrays:
        if self.noise is None:
            image, target = self.plan.batch(step)
            return (image,) if image is target else (image, target)
        image, target = replace(self.plan, parts=1, part=0).batch(step)  # the noise of a row may depend on the other rows
        return self.noise(image, step)[self.plan.rows], target[self.plan.rows]

    def tensors(self) -> tuple[list[Any], Any, Any]:
        """See `Feed`."""
        shape = (*self.plan.patch, self.plan.images.channels)
        count = 1 if self.plan.images.noisy is None and self.noise is None else 2
        inputs = [keras.Input(shape, batch_size=self.plan.batch_size) for _ in range(count)]
        return inputs, inputs[0], inputs[-1]


class DeviceFeed:
    """Sends only patch positions to the device; see `Cutter`."""

    def __init__(self, plan: BatchPlan) -> None:
        """Copy the images to the device; see `fits_device`."""
        self.plan = plan
        sizes = np.array([image.shape[:2] for image in plan.images.clean], np.int64)
        self._starts = np.cumsum(sizes.prod(1)) - sizes.prod(1)
        self._widths = sizes[:, 1]

    def batch(self, step: int) -> Arrays:
        """Return (N, 5) int32; see `Cutter.call`."""
        return (self._flat(self.plan.places(step)[self.plan.rows]),)

    def _flat(self, places: Places) -> Places:
        image, row, column, symmetry = places.T
        start = self._starts[image] + row * self._widths[image] + column
        bits = [symmetry >> bit & 1 for bit in range(3)]
        return np.column_stack([start, self._widths[image], *bits]).astype(np.int32)

    def tensors(self) -> tuple[list[Any], Any, Any]:
        """See `Feed`."""
        places = keras.Input((5,), batch_size=self.plan.batch_size, dtype="int32")
        images = self.plan.images
        target = Cutter(images.clean, self.plan.patch, name="clean")(places)
        image = target if images.noisy is None else Cutter(images.noisy, self.plan.patch, name="paired")(places)
        return [places], image, target


class Cutter(keras.layers.Layer):  # type: ignore[misc]
    """Holds flattened images on the device and cuts patches from them; never part of a saved model."""

    def __init__(self, images: Images, patch: Size, name: str) -> None:
        super().__init__(name=name, dtype="float32", trainable=False)
        self.patch = patch
        self.channels = images[0].shape[2]
        pixels = np.concatenate([image.reshape(-1, self.channels) for image in images])
        self.pixels = keras.Variable(pixels, trainable=False, dtype="uint8", name="pixels")

    def call(self, places: Any) -> Any:
        """Return float32 patches (N, H, W, C) in [0, 1].

        Args:
            places: (N, 5) int32: index of the top left pixel, image width, and the bits of the symmetry, lowest first (see
                `patches.apply_symmetry`).
        """
        start, width, mirrored, upside_down, transposed = (places[:, part, None, None] for part in range(5))
        height_px, width_px = self.patch
        row, column = ops.arange(height_px)[None, :, None], ops.arange(width_px)[None, None, :]
        # Map each output pixel to its source: invert the symmetry, last step first.
        row = ops.where(upside_down > 0, height_px - 1 - row, row)
        column = ops.where(mirrored > 0, width_px - 1 - column, column)
        row, column = ops.where(transposed > 0, column, row), ops.where(transposed > 0, row, column)
        found = ops.take(self.pixels, start + row * width + column, axis=0)
        return ops.cast(found, "float32") / 255

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return (N, H, W, C)."""
        return (input_shape[0], *self.patch, self.channels)


def fits_device(plan: BatchPlan) -> bool:
    """Return whether the images can be kept on the device: 8-bit and at most `DEVICE_MEMORY`."""
    arrays: list[Pixels] = []
    for images in (plan.images.clean, plan.images.noisy):
        if images is not None:
            arrays += [images] if isinstance(images, np.ndarray) else images
    return all(array.dtype == np.uint8 for array in arrays) and sum(array.nbytes for array in arrays) <= DEVICE_MEMORY


class BatchStream(keras.utils.PyDataset):  # type: ignore[misc]
    """An endless Keras data set of the batches of a feed, from one step on."""

    def __init__(self, feed: Feed, first_step: int) -> None:
        super().__init__()
        self.feed, self.first_step = feed, first_step

    @property
    def num_batches(self) -> None:
        """Return None: Keras never restarts an endless stream, so a batch depends on its step only."""
        return

    def __getitem__(self, index: int) -> tuple[Arrays]:
        """Return the inputs of a step; the model derives the targets from them."""
        return (self.feed.batch(self.first_step + index),)
