"""The errors of a card."""

from __future__ import annotations

from dae_runtime.errors import DaeError


class CardError(DaeError):
    """A card cannot be written: its words, run or test images are missing or damaged."""
