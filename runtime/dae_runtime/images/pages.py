"""Pages of different sizes, depths and channels, stacked as one array of equal pages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..pixels.arrays import color_channels, convert
from .pnm import Pixels


@dataclass(frozen=True)
class PageForm:
    """How a page of its own form is stored in its file."""

    height: int
    width: int
    channels: int
    dtype: str

    @property
    def colors(self) -> int:
        """Channels without alpha."""
        return color_channels(self.channels)


def form_of(page: Pixels) -> PageForm:
    """Return the form of (H, W) or (H, W, C)."""
    return PageForm(page.shape[0], page.shape[1], page.shape[2] if page.ndim == 3 else 1, page.dtype.name)


def common_form(forms: list[PageForm]) -> PageForm:
    """Return the form that holds all pages without loss."""
    channels = max(form.colors for form in forms) + any(form.channels > form.colors for form in forms)
    dtype = max((form.dtype for form in forms), key=lambda name: np.dtype(name).itemsize)
    return PageForm(max(form.height for form in forms), max(form.width for form in forms), channels, dtype)


def widen(page: Pixels, common: PageForm) -> Pixels:
    """Return a page in the common form, (H, W, C): mirrored beyond its right and lower edge, opaque, gray as equal colors."""
    form = form_of(page)
    page = convert(page.reshape(form.height, form.width, form.channels), common.dtype)
    colors = page[..., : form.colors]
    parts = [np.repeat(colors, 3, axis=2) if (form.colors, common.colors) == (1, 3) else colors]
    if common.channels > common.colors:
        opaque = np.full((*page.shape[:2], 1), np.iinfo(common.dtype).max, common.dtype)
        parts.append(page[..., form.colors :] if form.channels > form.colors else opaque)
    beyond = ((0, common.height - form.height), (0, common.width - form.width), (0, 0))
    return np.pad(np.concatenate(parts, axis=2), beyond, mode="symmetric")


def narrow(page: Pixels, form: PageForm) -> Pixels:
    """Undo `widen` on (H, W, C); of equal colors the first counts."""
    page = page[: form.height, : form.width]
    colors = page[..., : form.colors]
    if form.channels > form.colors:
        colors = np.concatenate([colors, page[..., -1:]], axis=2)
    return np.ascontiguousarray(convert(colors[..., 0] if form.channels == 1 else colors, form.dtype))
