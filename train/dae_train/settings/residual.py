"""What a network of residual blocks is made of: a small U-shape whose output is added to the noisy image."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import check_setting


@dataclass(frozen=True)
class ResidualSettings:
    """A U-shape of residual blocks that predicts what to add to the noisy image, or the clean image itself.

    A convolution of stride `stride_px` brings the image to the first level; every further level halves the resolution. Each
    level has blocks such as `x + conv(relu(conv(x)))` of 3x3 kernels on the way down and, but for the last, on the way up,
    where the upsampled level is added to what the way down left. A transposed convolution brings the sum back to pixels.

    All of it is what integer kernels like: wide plain convolutions at low resolution, ReLU that fuses, no normalization.
    See docs/decisions/0005-edge-networks.md.
    """

    preset: str
    """Name of the preset that this is, or was changed from."""
    filters: tuple[int, ...]
    """Channels of each level, finest first; best multiples of 16."""
    encoder_blocks: tuple[int, ...]
    """Residual blocks of each level on the way down; the last level has only these."""
    decoder_blocks: tuple[int, ...]
    """Residual blocks of each level but the last on the way up."""
    block_layers: int = 2
    """Convolutions of a block, with ReLU between. More of them in fewer blocks make fewer sums, which INT8 rounds most."""
    stride_px: int = 2
    """Pixels to each side that become one position of the first level: 2, 4 or 8."""
    sigmoid: bool = False
    """Whether the output is the sigmoid of what the U-shape makes, instead of the sum with the image: right where so much
    noise is to be removed that little of the noisy image is worth keeping, and what the loss `bce` needs."""
    channels: int | None = None
    """1 (gray) or 3 (RGB); None: those of the data."""

    def __post_init__(self) -> None:
        check_setting(self.channels in (None, 1, 3), "model.channels", "1 or 3", self.channels)
        check_setting(self.stride_px in (2, 4, 8), "model.stride_px", "2, 4 or 8", self.stride_px)
        check_setting(2 <= self.block_layers <= 8, "model.block_layers", "from 2 to 8", self.block_layers)
        levels = len(self.filters)
        positive = levels > 0 and min(self.filters) > 0
        check_setting(positive, "model.filters", "at least one positive number", self.filters)
        for name, count in (("encoder_blocks", levels), ("decoder_blocks", levels - 1)):
            values = getattr(self, name)
            fits = len(values) == count and all(value >= 0 for value in values)
            check_setting(fits, f"model.{name}", f"{count} numbers of at least 0, to fit filters", values)

    @property
    def alignment_px(self) -> int:
        """Height and width must be multiples of this."""
        return int(self.stride_px * 2 ** (len(self.filters) - 1))

    @property
    def image_px(self) -> None:
        """The size of the images is free."""
        return

    @property
    def z_dim(self) -> None:
        """There is no latent vector."""
        return
