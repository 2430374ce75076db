"""Noise: added in training, and estimated from images."""

from typing import TYPE_CHECKING

from dae_runtime.system.lazy import lazy_face

if TYPE_CHECKING:
    from .custom import add_custom
    from .fit import check_request, resolve
    from .layer import NoiseLayer, draw_noisy
    from .level import LeveledNoise, draw_leveled

__all__ = [
    "LeveledNoise",
    "NoiseLayer",
    "add_custom",
    "check_request",
    "draw_leveled",
    "draw_noisy",
    "resolve",
]

__getattr__ = lazy_face(
    __name__,
    {
        "custom": ("add_custom",),
        "fit": ("check_request", "resolve"),
        "layer": ("NoiseLayer", "draw_noisy"),
        "level": ("LeveledNoise", "draw_leveled"),
    },
)
