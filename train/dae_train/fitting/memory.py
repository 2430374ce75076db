"""The memory that a training takes at least, checked before it starts: the kernel would end it without a word."""

from __future__ import annotations

import math

from dae_runtime.system.memory import available_bytes

from ..data.patches import Size
from ..errors import ConfigError
from ..settings.networks import Architecture, NetworkSettings, ResidualSettings
from ..settings.training import TrainingSettings

_FLOAT_BYTES = 4
_GRADIENTS = 1.3
"""What gradients take besides: measured peaks are 1.4 to 1.7 times what the forward pass keeps."""
_COPIES = 3
"""Of the validation crops: clean, noisy, and those for the calibration of INT8."""


def check_crops(crops: int, patch: Size, channels: int) -> None:
    """Check that so many crops for validation and calibration fit into memory.

    Raises:
        ConfigError: They do not.
    """
    need = _COPIES * crops * math.prod(patch) * channels * _FLOAT_BYTES
    _check(need, f"{crops} crops of {_shown(patch)} pixels for validation", "Give a smaller --patch-size.")


def check_step(model: Architecture, training: TrainingSettings, batch_size: int, patch: Size) -> None:
    """Check that a step of training fits into the memory of the CPU.

    Raises:
        ConfigError: It does not.
    """
    itemsize = _FLOAT_BYTES if training.precision == "fp32" else _FLOAT_BYTES // 2
    need = int(batch_size * math.prod(patch) * values_per_pixel(model) * itemsize * _GRADIENTS)
    what = f"a step of {model.preset} on {batch_size} images of {_shown(patch)} pixels"
    _check(need, what, "Give a smaller --patch-size or --batch-size.")


def values_per_pixel(model: Architecture) -> float:
    """Return how many values for each pixel of a batch are kept from the forward pass for the gradients, at least."""
    edges = 2.0 * (model.channels or 1)
    if isinstance(model, ResidualSettings):
        return edges + _residual_values(model)
    return edges + _autoencoder_values(model) if isinstance(model, NetworkSettings) else edges


def _residual_values(model: ResidualSettings) -> float:
    """Return those of the convolutions; activations and sums take their place."""
    total = 0.0
    for level, filters in enumerate(model.filters):
        is_last = level == len(model.decoder_blocks)
        blocks = model.encoder_blocks[level] + (0 if is_last else model.decoder_blocks[level])
        layers = (1 if is_last else 2) + blocks * model.block_layers
        total += filters * layers / (model.stride_px * 2**level) ** 2
    return total


def _autoencoder_values(model: NetworkSettings) -> float:
    total, area = 0.0, 1.0
    for filters, stride in zip(model.encoder_filters, model.encoder_strides, strict=True):
        area /= stride**2
        total += 2 * filters * area  # before and after LeakyReLU
    for filters, stride in zip(model.decoder_filters, model.decoder_strides, strict=False):
        area *= stride**2
        total += 2 * filters * area
    return total


def _check(need: int, what: str, remedy: str) -> None:
    there = available_bytes()
    if need > there:
        raise ConfigError(
            f"{what} take{'s' * what.startswith('a ')} at least {need / 2**30:.1f} GiB of memory, and {there / 2**30:.1f} GiB "
            f"are available. {remedy}"
        )


def _shown(patch: Size) -> str:
    return f"{patch[1]}x{patch[0]}"
