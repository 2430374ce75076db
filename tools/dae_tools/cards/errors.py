"""What a card may fail of."""

from __future__ import annotations

from dae_runtime.errors import DaeError


class CardError(DaeError):
    """A model's card cannot be written: its words, its run or its test images are missing or damaged."""
