"""Networks with random weights for timing, which hardly depends on the weights."""

from __future__ import annotations

from dae_export.source import KerasModel, import_keras
from dae_train import preset_settings

EDGE_PRESETS = ("edge-s", "edge-m", "edge-l")


def random_network(preset: str, channels: int = 1, seed: int = 0) -> KerasModel:
    """Return the network of a preset with random weights."""
    keras = import_keras()
    from dae_train.networks import build_network

    keras.utils.set_random_seed(seed)
    model = build_network(preset_settings(preset, channels=channels))
    return KerasModel(model, f"the network {preset} with random weights")
