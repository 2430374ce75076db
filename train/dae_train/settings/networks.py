"""Network settings and presets, without a framework; `networks` builds them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from ..errors import ConfigError, check_fields, check_setting

CUSTOM_NETWORK = "custom"
"""Preset name of a network of the calling program."""


def _check(condition: bool, name: str, expected: str, received: object) -> None:
    check_setting(condition, f"model.{name}", expected, received)


@dataclass(frozen=True)
class NetworkSettings:
    """A convolutional autoencoder; the lists have one entry per layer.

    Each layer is a convolution with "same" padding, LeakyReLU, and optional batch normalization and dropout. The decoder has
    one more layer than `decoder_filters` entries: the last, with `channels` filters and a sigmoid only.
    """

    preset: str
    """Name of the preset that this is, or was changed from."""
    encoder_filters: tuple[int, ...]
    encoder_kernels_px: tuple[int, ...]
    encoder_strides: tuple[int, ...]
    decoder_filters: tuple[int, ...]
    """All decoder layers except the last."""
    decoder_kernels_px: tuple[int, ...]
    """One more entry than `decoder_filters`."""
    decoder_strides: tuple[int, ...]
    """One more entry than `decoder_filters`; the product is that of `encoder_strides`."""
    channels: int | None = None
    """1 (gray) or 3 (RGB); None: those of the data."""
    negative_slope: float = 0.3
    """Slope of LeakyReLU."""
    batch_norm: bool = False
    dropout: float = 0.0
    """Dropout rate; 0: no dropout layers. A typical value is 0.25."""
    z_dim: int | None = None
    """Latent dimension; None: the latent is the feature map of the encoder."""
    image_px: int | None = None
    """Height and width of the images; None: any multiple of `alignment_px`. A latent vector needs a fixed size."""

    def __post_init__(self) -> None:
        check_fields(self, "model")
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
    """A U-shape of residual blocks that predicts a correction of the noisy image, or the clean image.

    A convolution of stride `stride_px` maps the image to the first level; each further level halves the resolution. Each
    level has residual blocks `x + conv(relu(conv(x)))` of 3x3 kernels in the encoder and, except the last, in the decoder,
    where the upsampled level is added to the skip connection. A transposed convolution maps the sum to pixels.

    The design suits integer kernels: wide plain convolutions at low resolution, fusible ReLU, no normalization. See
    docs/decisions/0005-edge-networks.md.
    """

    preset: str
    """Name of the preset that this is, or was changed from."""
    filters: tuple[int, ...]
    """Channels of each level, finest first; multiples of 16 are fastest."""
    encoder_blocks: tuple[int, ...]
    """Residual blocks of each level of the encoder."""
    decoder_blocks: tuple[int, ...]
    """Residual blocks of each level of the decoder, one level less."""
    block_layers: int = 2
    """Convolutions of a block, with ReLU between. Fewer, deeper blocks have fewer sums, the largest rounding error of INT8."""
    stride_px: int = 2
    """Downsampling of the first level: 2, 4 or 8."""
    sigmoid: bool = False
    """Whether the output is a sigmoid instead of the sum with the image: for heavy noise, and for the loss `bce`."""
    channels: int | None = None
    """1 (gray) or 3 (RGB); None: those of the data."""
    sigma: bool = False
    """Whether the network is given the noise level of each image, as a second input: it then removes as much as is there, and
    nothing at level 0. See docs/decisions/0007-noise-level-input.md."""
    image_px: ClassVar[None] = None
    """The image size is free."""
    z_dim: ClassVar[None] = None

    def __post_init__(self) -> None:
        check_fields(self, "model")
        _check(self.channels in (None, 1, 3), "channels", "1 or 3", self.channels)
        _check(not (self.sigma and self.sigmoid), "sigma", "false with model.sigmoid", self.sigma)
        _check(self.stride_px in (2, 4, 8), "stride_px", "2, 4 or 8", self.stride_px)
        _check(2 <= self.block_layers <= 8, "block_layers", "from 2 to 8", self.block_layers)
        levels = len(self.filters)
        positive = levels > 0 and min(self.filters) > 0
        _check(positive, "filters", "at least one positive number", self.filters)
        for name, count in (("encoder_blocks", levels), ("decoder_blocks", levels - 1)):
            values = getattr(self, name)
            fits = len(values) == count and all(value >= 0 for value in values)
            _check(fits, name, f"{count} numbers of at least 0, to fit filters", values)

    @property
    def alignment_px(self) -> int:
        """Height and width must be multiples of this."""
        return int(self.stride_px * 2 ** (len(self.filters) - 1))


@dataclass(frozen=True, kw_only=True)
class CustomSettings:
    """Description of a network of the calling program; see `dae_train.train`."""

    preset: str = CUSTOM_NETWORK
    channels: int
    """1 (gray) or 3 (RGB)."""
    alignment_px: int
    """Height and width must be multiples of this."""
    image_px: int | None = None
    """Height and width of the images; None: free."""
    z_dim: ClassVar[None] = None

    def __post_init__(self) -> None:
        check_fields(self, "model")


Architecture: TypeAlias = NetworkSettings | ResidualSettings | CustomSettings
"""Settings of a network. All have `preset`, `channels`, `alignment_px`, `image_px` and `z_dim`."""


def takes_sigma(model: Architecture) -> bool:
    """Return whether a network is given the noise level of each image."""
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
"""`v1`: vector latent, fixed image size. `v2`: convolutional latent, any image size. `edge-s`, `edge-m`, `edge-l`: residual
networks for integer arithmetic on CPUs. `document`: one with a larger receptive field. `digits`: one for small images with
heavy noise."""


def preset_settings(preset: str, **changes: Any) -> Architecture:
    """Return a preset with some settings changed.

    Args:
        preset: A key of `PRESETS`.
        **changes: Fields of the preset's class with their new values.

    Raises:
        ConfigError: The preset is unknown, or the settings are invalid.
    """
    if preset == CUSTOM_NETWORK and {"channels", "alignment_px"} <= set(changes):
        return CustomSettings(**changes)
    if preset not in PRESETS:
        raise ConfigError(f"model.preset must be one of {', '.join(PRESETS)}, not {preset!r}.")
    return dataclasses.replace(PRESETS[preset], **changes)


def preset_class(preset: str) -> type[Architecture]:
    """Return the settings class of a preset; `ResidualSettings` for an unknown one."""
    if preset in PRESETS:
        return type(PRESETS[preset])
    return CustomSettings if preset == CUSTOM_NETWORK else ResidualSettings
