"""The images accepted by a model: channels, sizes, and halo."""

from __future__ import annotations

from dataclasses import dataclass

Shape = tuple[int, int, int, int]
"""(N, H, W, C) of a batch."""


@dataclass(frozen=True)
class ImageSpec:
    """The images accepted by a model: the fields of the contract on channels and sizes."""

    channels: int
    """1 (gray) or 3 (RGB)."""
    alignment_px: int = 1
    """Height and width must be multiples of this."""
    halo_px: int | None = None
    """Input pixels to each side that an output pixel depends on; None: the whole image."""
    fixed_size: tuple[int, int] | None = None
    """Fixed (height, width) in pixels; None if free."""

    @property
    def tileable(self) -> bool:
        """Whether tiles give the same result as the whole image."""
        return self.fixed_size is None and self.halo_px is not None

    def size_near(self, side_px: int) -> tuple[int, int]:
        """Return an accepted (height, width): the fixed one, or the largest square of at most `side_px`."""
        side = max(side_px // self.alignment_px, 1) * self.alignment_px
        return self.fixed_size or (side, side)

    def shapes(self, free: tuple[tuple[int, int, int], ...], batches: tuple[int, ...]) -> tuple[Shape, ...]:
        """Return accepted batch shapes.

        Args:
            free: (N, H, W) for a model of free size; heights and widths are rounded up to the alignment.
            batches: N for a model of fixed size.
        """
        if self.fixed_size:
            return tuple((count, *self.fixed_size, self.channels) for count in batches)
        unit = self.alignment_px
        return tuple(
            (count, -(-height // unit) * unit, -(-width // unit) * unit, self.channels) for count, height, width in free
        )
