"""The networks `edge-s`, `edge-m` and `edge-l` with random weights, for timing: times hardly depend on what was learned.

Built here once more, as the export does not know the training code; a test holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dae_export.source import KerasModel, import_keras


@dataclass(frozen=True)
class EdgePreset:
    """What a residual network is made of; finest level first."""

    filters: tuple[int, ...]
    encoder_blocks: tuple[int, ...]
    decoder_blocks: tuple[int, ...]
    block_layers: int = 2
    stride_px: int = 2


EDGE_PRESETS = {
    "edge-s": EdgePreset((32,), (2,), (), 3),
    "edge-m": EdgePreset((32, 64), (2, 3), (2,)),
    "edge-l": EdgePreset((64, 96), (2, 3), (2,)),
}


def edge_network(name: str, channels: int = 1, seed: int = 0) -> KerasModel:
    """Return one of `EDGE_PRESETS` with random weights."""
    keras = import_keras()
    keras.utils.set_random_seed(seed)
    preset, layers = EDGE_PRESETS[name], keras.layers
    edge = (2 * preset.stride_px, preset.stride_px)
    image = keras.Input((None, None, channels))
    x = layers.Conv2D(preset.filters[0], *edge, padding="same")(image)
    skips = []
    for level, (filters, blocks) in enumerate(zip(preset.filters, preset.encoder_blocks, strict=True)):
        x = layers.Conv2D(filters, 2, strides=2, padding="same")(x) if level else x
        x = _blocks(layers, x, filters, blocks, preset.block_layers)
        skips.append(x)
    for level, blocks in reversed(list(enumerate(preset.decoder_blocks))):
        filters = preset.filters[level]
        x = layers.Conv2DTranspose(filters, 2, strides=2, padding="same")(x)
        x = _blocks(layers, layers.Add()([x, skips[level]]), filters, blocks, preset.block_layers)
    small = keras.initializers.VarianceScaling(0.01)  # a correction of usual size
    correction = layers.Conv2DTranspose(channels, *edge, padding="same", kernel_initializer=small)(x)
    return KerasModel(keras.Model(image, layers.Add()([image, correction]), name=name), name)


def _blocks(layers: Any, x: Any, filters: int, count: int, depth: int) -> Any:
    for _ in range(count):
        y = x
        for _ in range(depth - 1):
            y = layers.Conv2D(filters, 3, padding="same", activation="relu")(y)
        x = layers.Add()([x, layers.Conv2D(filters, 3, padding="same")(y)])
    return x
