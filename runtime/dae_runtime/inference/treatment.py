"""What is done to a batch around the network: the form that its images are stored in, their noise levels, detail put back."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ..contract import Contract
from ..errors import InputError
from ..models import STRONG
from ..pixels.advice import Noise, noise_of
from ..pixels.arrays import Array, FloatArray, as_batch, as_image, check_values, color_channels
from ..pixels.common_noise import add_luma_change, has_common_noise, luma_plane
from ..pixels.detail import put_back
from ..pixels.hidden import fill_hidden, hidden_in
from ..pixels.storage import Stored, stored_as
from .controls import Controls, Shares
from .open_model import Network

Networks = Callable[[int], Network]
"""Gives the network for a key of `DEFAULT_MODELS`."""


def treat(
    batch: Array,
    networks: Networks,
    controls: Controls,
    levels: FloatArray | None,
    cancel: Callable[[], bool] | None,
    overwrite: bool = False,
) -> Array:
    """Denoise a checked batch; each image comes out as it would alone.

    Args:
        batch: (N, H, W, C) with C from 1 to 4, uint8, uint16 or float32; read only, unless it may be overwritten.
        networks: What to denoise with.
        controls: What the user decides about the result; `sigma` where one number was told for all images.
        levels: (N,) noise levels as told or measured; None to advise those of models that are given them.
        cancel: Asked before each run of the engine.
        overwrite: Whether the result may take the place of the batch, whose content is lost then, on an error too.

    Returns:
        A new array of the same shape and dtype, or the batch.

    Raises:
        InputError: Levels are given to a model that estimates the noise by itself, or values are larger than `bits` allow.
        ModelError, DeviceError, CancelledError: As for `Network.denoise`.
    """
    cancel = _kept(cancel)
    forms = [stored_as(image, controls.bits) for image in batch]
    kinds = list(dict.fromkeys(forms))
    if len(kinds) == 1:
        return _treat(batch, kinds[0], networks, controls, levels, cancel, overwrite)
    result = np.empty(batch.shape, batch.dtype)
    for kind in kinds:
        chosen = [place for place, form in enumerate(forms) if form == kind]
        chosen_levels = None if levels is None else levels[chosen]
        result[chosen] = _treat(batch[chosen], kind, networks, controls, chosen_levels, cancel, overwrite=True)
    return result


def _kept(cancel: Callable[[], bool] | None) -> Callable[[], bool] | None:
    """Return `cancel`, not asked again once it has returned true: the thread that watches the engine asks, too."""
    if cancel is None:
        return None
    ask, asked = cancel, threading.Event()

    def kept() -> bool:
        if not asked.is_set() and ask():
            asked.set()
        return asked.is_set()

    return kept


def noise_in(noisy: npt.ArrayLike, networks: Networks, bits: int | None) -> Noise | None:
    """Return what is seen of the noise of an image; None if its network takes no level."""
    image = as_image(noisy)
    check_values(image)
    if image.ndim == 4:
        raise InputError(f"the level is measured of one image, (H, W) or (H, W, C); received a batch {image.shape}.")
    batch = as_batch(image)
    opened = stored_as(batch[0], bits).opened(batch)
    network = networks(color_channels(opened.shape[3]))
    return None if network.model.sigma is None else _noise_of_visible(opened[0])


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
    overwrite: bool = False,
) -> Array:
    """Denoise images that are stored alike."""
    opened = form.opened(batch)
    hidden = hidden_in(opened) if opened.shape[3] in (2, 4) else None
    if hidden is not None and not hidden.any():
        hidden = None
    if hidden is not None:
        opened = _with_hidden_filled(opened, hidden)
    colors = color_channels(opened.shape[3])
    network = networks(colors)
    if network.model.sigma is None and levels is not None:
        raise sigma_unused(network.model)
    if levels is not None and controls.sigma is not None:
        _warn_of_untold(networks, network, colors, levels)
    if network.model.sigma is not None and levels is None:
        levels = np.array([_noise_of_visible(image).advised for image in opened], np.float32)
    has_detail = controls.detail > 0 and controls.shares.luma > 0
    expendable = not has_detail and (overwrite or not np.may_share_memory(opened, batch))
    start = opened
    if colors == 3:
        start = _without_common_noise(opened, networks, network, controls, levels, cancel, expendable)
    expendable = expendable or not np.may_share_memory(start, opened)
    clean = _denoise(start, networks, network, controls, cancel, levels, expendable)
    if has_detail:
        for before, after in zip(opened, clean, strict=True):
            put_back(before[..., :colors], after[..., :colors], controls.detail)
    result = form.closed(clean, batch.shape[3], batch if overwrite and hidden is None else None)
    if hidden is not None:
        result[hidden] = batch[hidden]
    return result


def _warn_of_untold(networks: Networks, network: Network, colors: int, levels: FloatArray) -> None:
    """Warn once where a level that was told goes to a model that is told none."""
    told = network.model.sigma
    if told is None or colors == 1 or not (levels > np.float32(told.high)).any():
        return
    stronger = networks(STRONG * colors)
    if stronger.model.sigma is None:
        stronger.warn_once(
            "the model %s denoises colors with noise above %.0f of 255, and finds the level by itself: a higher sigma changes "
            "nothing",
            255 * told.high,
        )


def _denoise(
    opened: Array,
    networks: Networks,
    network: Network,
    controls: Controls,
    cancel: Callable[[], bool] | None,
    levels: FloatArray | None,
    overwrite: bool,
) -> Array:
    """Denoise with a network, but colors with more noise than it is made for with the one for strong noise."""
    told, colors, shares, ensemble = network.model.sigma, color_channels(opened.shape[3]), controls.shares, controls.ensemble
    if told is None or levels is None or colors == 1:
        return network.denoise(opened, shares, cancel, levels, overwrite=overwrite, ensemble=ensemble)
    strong = levels > np.float32(told.high)
    stronger = networks(STRONG * colors) if strong.any() else network
    if strong.all() or stronger is network:
        told_levels = None if stronger.model.sigma is None else levels
        return stronger.denoise(opened, shares, cancel, told_levels, overwrite=overwrite, ensemble=ensemble)
    clean = np.empty_like(opened)
    for chosen, each in ((~strong, network), (strong, stronger)):
        if chosen.any():
            levels_of_chosen = None if each.model.sigma is None else levels[chosen]
            clean[chosen] = each.denoise(opened[chosen], shares, cancel, levels_of_chosen, ensemble=ensemble)
    return clean


def _with_hidden_filled(opened: Array, hidden: Array) -> Array:
    filled = opened.copy()
    for image, where in zip(filled, hidden, strict=True):
        fill_hidden(image, where)
    return filled


def _noise_of_visible(image: Array) -> Noise:
    """Return what is seen of the noise of an image; transparent pixels are black, which does not count."""
    if image.shape[2] in (2, 4) and (hidden := hidden_in(image)).any():
        image = np.where(hidden[..., None], image.dtype.type(0), image)
    return noise_of(image)


def _without_common_noise(
    opened: Array,
    networks: Networks,
    network: Network,
    controls: Controls,
    levels: FloatArray | None,
    cancel: Callable[[], bool] | None,
    overwrite: bool,
) -> Array:
    """Return a colored batch without noise that is equal in all channels.

    A network for colors has learned that noise differs from channel to channel, and keeps what does not. The network for gray
    takes it out of the brightness, where there is one: a single model given by the user is all that is used.
    """
    gray = networks(1)
    if gray is network or controls.shares.luma == 0:
        return opened
    chosen = [place for place, image in enumerate(opened) if has_common_noise(image)]
    if not chosen:
        return opened
    result = opened if overwrite else opened.copy()
    part = result if len(chosen) == len(result) else result[chosen]
    luma = luma_plane(part)
    told = None
    if gray.model.sigma is not None:
        told = np.array([noise_of(plane).advised for plane in luma], np.float32) if levels is None else levels[chosen]
    share = controls.shares.luma
    clean = gray.denoise(luma, Shares(share, share), cancel, told, overwrite=True, ensemble=controls.ensemble)
    add_luma_change(part, clean)
    if part is not result:
        result[chosen] = part
    return result
