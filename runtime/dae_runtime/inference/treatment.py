"""What is done to a batch around the network: the form that its images are stored in, their noise levels, detail put back."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..contract import Contract
from ..errors import InputError
from ..pixels.arrays import Array, FloatArray, color_channels
from ..pixels.detail import put_back
from ..pixels.level import advise_level, measure_level
from ..pixels.storage import Stored, stored_as
from .controls import Controls
from .open_model import Network

Networks = Callable[[int], Network]
"""Gives the network for images of 1 or 3 color channels."""


def treat(
    batch: Array,
    networks: Networks,
    controls: Controls,
    levels: FloatArray | None,
    cancel: Callable[[], bool] | None,
) -> Array:
    """Denoise a checked batch; each image comes out as it would alone.

    Args:
        batch: (N, H, W, C) with C from 1 to 4, uint8, uint16 or float32; read only.
        networks: What to denoise with.
        controls: What the user decides about the result; `sigma` does not count.
        levels: (N,) noise levels as told; None to advise those of models that are given them.
        cancel: Asked before each run of the engine.

    Returns:
        A new array of the same shape and dtype.

    Raises:
        InputError: Levels are given to a model that estimates the noise by itself, or values are larger than `bits` allow.
        ModelError, DeviceError, CancelledError: As for `Network.denoise`.
    """
    forms = [stored_as(image, controls.bits) for image in batch]
    kinds = list(dict.fromkeys(forms))
    if len(kinds) == 1:
        return _treat(batch, kinds[0], networks, controls, levels, cancel)
    result = np.empty(batch.shape, batch.dtype)
    for kind in kinds:
        chosen = [place for place, form in enumerate(forms) if form == kind]
        chosen_levels = None if levels is None else levels[chosen]
        result[chosen] = _treat(batch[chosen], kind, networks, controls, chosen_levels, cancel)
    return result


def level_in(batch: Array, networks: Networks, bits: int | None, *, advice: bool) -> float | None:
    """Return the level of a batch of one image, or with `advice` what `treat` tells; None if its network takes none."""
    opened = stored_as(batch[0], bits).opened(batch)
    network = networks(color_channels(opened.shape[3]))
    return None if network.model.sigma is None else (advise_level if advice else measure_level)(opened[0])


def sigma_unused(model: Contract) -> InputError:
    """Return the error for a level that is given to a model which is not made for it."""
    return InputError(
        f"sigma has no use with the model {model.name}, which estimates the noise by itself. Leave it out, or take a "
        "model that is given the level."
    )


def _treat(
    batch: Array,
    form: Stored,
    networks: Networks,
    controls: Controls,
    levels: FloatArray | None,
    cancel: Callable[[], bool] | None,
) -> Array:
    """Denoise images that are stored alike."""
    opened = form.opened(batch)
    colors = color_channels(opened.shape[3])
    network = networks(colors)
    if network.model.sigma is None and levels is not None:
        raise sigma_unused(network.model)
    if network.model.sigma is not None and levels is None:
        levels = np.array([advise_level(image) for image in opened], np.float32)
    clean = network.denoise(opened, controls.shares, cancel, levels)
    if controls.detail > 0 and controls.shares.luma > 0:
        for before, after in zip(opened, clean, strict=True):
            put_back(before[..., :colors], after[..., :colors], controls.detail)
    return form.closed(clean, batch.shape[3])
