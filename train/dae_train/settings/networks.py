"""What networks are made of, and the presets. No framework is imported here; `networks` builds them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from ..errors import ConfigError, check_setting

CUSTOM_NETWORK = "custom"
"""Stands for a network that the program which trains brings itself, in the place of a preset."""


def _check(condition: bool, name: str, expected: str, received: object) -> None:
    check_setting(condition, f"model.{name}", expected, received)


@dataclass(frozen=True)
class NetworkSettings:
    """A convolutional autoencoder; the three lists of each half hold one entry per layer.

    Every layer is a convolution with "same" padding, then LeakyReLU, then batch normalization and dropout if wanted. The
    decoder has one more layer than `decoder_filters` has entries: the last, with `channels` filters and a sigmoid only.
    """

    preset: str
    """Name of the preset that this is, or was changed from; decides the form of the latent."""
    encoder_filters: tuple[int, ...]
    encoder_kernels_px: tuple[int, ...]
    encoder_strides: tuple[int, ...]
    decoder_filters: tuple[int, ...]
    """Of all decoder layers but the last."""
    decoder_kernels_px: tuple[int, ...]
    """One more entry than `decoder_filters`."""
    decoder_strides: tuple[int, ...]
    """One more entry than `decoder_filters`; the product is that of `encoder_strides`."""
    channels: int | None = None
    """1 (gray) or 3 (RGB); None: those of the data."""
    negative_slope: float = 0.3
    """Of LeakyReLU."""
    batch_norm: bool = False
    dropout: float = 0.0
    """Part of the values that dropout zeroes; 0: no dropout layers. The classic choice is 0.25."""
    z_dim: int | None = None
    """Length of the latent vector; None: the latent is the encoder's map itself."""
    image_px: int | None = None
    """Height and width of the images; None: free, any multiple of `alignment_px`. A latent vector needs a fixed size."""

    def __post_init__(self) -> None:
        _check(self.channels in (None, 1, 3), "channels", "1 or 3", self.channels)
        _check(self.negative_slope >= 0, "negative_slope", "at least 0", self.negative_slope)
        _check(0 <= self.dropout < 1, "dropout", "at least 0 and below 1", self.dropout)
        _check(self.z_dim is None or self.z_dim > 0, "z_dim", "at least 1", self.z_dim)
        self._check_layers("encoder", len(self.encoder_filters), len(self.encoder_filters))
        self._check_layers("decoder", len(self.decoder_filters), len(self.decoder_filters) + 1)
        _check(
            math.prod(self.decoder_strides) == self.alignment_px,
            "decoder_strides",
            f"numbers whose product is that of encoder_strides, {self.alignment_px}",
            self.decoder_strides,
        )
        self._check_size()

    def _check_layers(self, half: str, filters: int, layers: int) -> None:
        _check(filters > 0, f"{half}_filters", "at least one number", getattr(self, f"{half}_filters"))
        for name, count in (("filters", filters), ("kernels_px", layers), ("strides", layers)):
            values = getattr(self, f"{half}_{name}")
            expected = f"{count} positive numbers, to fit {half}_filters"
            _check(len(values) == count and min(values) > 0, f"{half}_{name}", expected, values)

    def _check_size(self) -> None:
        _check((self.z_dim is None) == (self.image_px is None), "image_px", "given exactly with z_dim", self.image_px)
        fits = self.image_px is None or (self.image_px > 0 and self.image_px % self.alignment_px == 0)
        _check(fits, "image_px", f"a positive multiple of {self.alignment_px}", self.image_px)

    @property
    def alignment_px(self) -> int:
        """Height and width must be multiples of this."""
        return math.prod(self.encoder_strides)


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
    sigma: bool = False
    """Whether the network is given the noise level of each image, as a second input: it then removes as much as is there, and
    nothing at level 0. See docs/decisions/0007-noise-level-input.md."""

    def __post_init__(self) -> None:
        check_setting(self.channels in (None, 1, 3), "model.channels", "1 or 3", self.channels)
        check_setting(not (self.sigma and self.sigmoid), "model.sigma", "false with model.sigmoid", self.sigma)
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


@dataclass(frozen=True, kw_only=True)
class CustomSettings:
    """A network that the program which trains brings itself; see `dae_train.train`. It is described, not made, by this."""

    preset: str = CUSTOM_NETWORK
    channels: int
    """1 (gray) or 3 (RGB)."""
    alignment_px: int
    """Height and width must be multiples of this."""
    image_px: int | None = None
    """Height and width of the images; None: free."""

    @property
    def z_dim(self) -> None:
        """Whether there is a latent vector is not known."""
        return


Architecture: TypeAlias = NetworkSettings | ResidualSettings | CustomSettings
"""What a network may be made of. All have `preset`, `channels`, `alignment_px`, `image_px` and `z_dim`."""


def takes_sigma(model: Architecture) -> bool:
    """Tell whether a network is given the noise level of each image."""
    return isinstance(model, ResidualSettings) and model.sigma


PRESETS: Mapping[str, NetworkSettings | ResidualSettings] = {
    "v1": NetworkSettings(
        preset="v1",
        encoder_filters=(32, 64, 64, 64),
        encoder_kernels_px=(3, 3, 3, 3),
        encoder_strides=(1, 2, 2, 1),
        decoder_filters=(64, 64, 32),
        decoder_kernels_px=(3, 3, 3, 3),
        decoder_strides=(1, 2, 2, 1),
        z_dim=2,
        image_px=28,
    ),
    "v2": NetworkSettings(
        preset="v2",
        encoder_filters=(32, 64, 128),
        encoder_kernels_px=(3, 3, 3),
        encoder_strides=(1, 2, 2),
        decoder_filters=(64, 32),
        decoder_kernels_px=(3, 3, 3),
        decoder_strides=(2, 2, 1),
    ),
    "edge-s": ResidualSettings("edge-s", (32,), (2,), (), block_layers=3),
    "edge-m": ResidualSettings("edge-m", (32, 64), (2, 3), (2,)),
    "edge-l": ResidualSettings("edge-l", (64, 96), (2, 3), (2,)),
    "document": ResidualSettings("document", (32, 64, 96), (1, 1, 2), (1, 1)),
    "digits": ResidualSettings("digits", (64, 128), (1, 3), (1,), sigmoid=True),
}
"""`v1`: a vector latent, images of fixed size. `v2`: a convolutional latent, images of any size. `edge-s`, `edge-m`, `edge-l`:
residual networks for integer arithmetic on CPUs. `document`: one that sees farther. `digits`: the like for small images under
heavy noise."""


def preset_settings(preset: str, **changes: Any) -> Architecture:
    """Return a preset with some settings changed.

    Args:
        preset: A key of `PRESETS`.
        **changes: Fields of the preset's class with their new values.

    Raises:
        ConfigError: The preset is unknown, or the settings are impossible together.
    """
    if preset == CUSTOM_NETWORK and {"channels", "alignment_px"} <= set(changes):
        return CustomSettings(**changes)
    if preset not in PRESETS:
        raise ConfigError(f"model.preset must be one of {', '.join(PRESETS)}, not {preset!r}.")
    return dataclasses.replace(PRESETS[preset], **changes)


def preset_class(preset: str) -> type[Architecture]:
    """Return the class of a preset's settings; of an unknown one, that of most."""
    if preset in PRESETS:
        return type(PRESETS[preset])
    return CustomSettings if preset == CUSTOM_NETWORK else ResidualSettings
