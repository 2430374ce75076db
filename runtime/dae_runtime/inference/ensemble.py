"""The self-ensemble: the mean of what a network makes of a batch flipped and turned in several ways, each turned back.

Source: R. Timofte, R. Rothe, L. Van Gool, Seven ways to improve example-based single image super resolution, CVPR 2016,
arXiv 1511.02228.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..contract import ImageSpec
from ..errors import InputError
from ..pixels.arrays import Array

_STEPS = ((1, 1), (-1, -1), (-1, 1), (1, -1))
"""Of rows and columns: as it is, turned by 180 degrees, upside down, mirrored."""


def ensemble_mean(run: Callable[[Array], Array], batch: Array, count: int) -> Array:
    """Return the mean of the results for a batch and its copies.

    Args:
        run: Denoises a batch; the result has its shape.
        batch: (N, H, W, C); read only.
        count: 1: the batch alone; 2: and turned by 180 degrees; 4: and flipped; 8: and all of these with rows and columns
            exchanged.

    Returns:
        Of the shape and dtype of the first result, rounded once if they are integers. The order of the sum is fixed.
    """
    first = run(batch)
    if count == 1:
        return first
    total = first.astype(np.float32)
    for number in range(1, count):
        total += _turned_back(run(_turned(batch, number)), number)
    total /= count
    return total.astype(first.dtype) if first.dtype.kind == "f" else np.rint(total, out=total).astype(first.dtype)


def check_ensemble(images: ImageSpec, count: int, name: str) -> None:
    """Raise InputError if a model, by its name, cannot take the copies: rows and columns of its fixed size differ."""
    size = images.fixed_size
    if size is not None and size[0] != size[1] and count > len(_STEPS):
        raise InputError(
            f"ensemble must be at most {len(_STEPS)} for the model {name}, not {count}: its images are always {size[0]} x "
            f"{size[1]}, whose rows and columns cannot be exchanged. Give 4 (--ensemble 4)."
        )


def _turned(batch: Array, number: int) -> Array:
    rows, columns = _STEPS[number % len(_STEPS)]
    turned = batch if number < len(_STEPS) else batch.swapaxes(1, 2)
    return turned[:, ::rows, ::columns]


def _turned_back(batch: Array, number: int) -> Array:
    rows, columns = _STEPS[number % len(_STEPS)]
    back = batch[:, ::rows, ::columns]
    return back if number < len(_STEPS) else back.swapaxes(1, 2)
