"""Noise: added in training, and estimated from images."""

from typing import TYPE_CHECKING

from dae_runtime.system.lazy import lazy_face

if TYPE_CHECKING:
    from .custom import add_custom
    from .fit import check_request, resolve
    from .fit_camera import CameraFit, fit_camera_folder
    from .layer import NoiseLayer, draw_noisy
    from .level import LeveledNoise, draw_leveled
    from .statistics import NoiseStatistics, describe, flat_blocks, white_level

__all__ = [
    "CameraFit",
    "LeveledNoise",
    "NoiseLayer",
    "NoiseStatistics",
    "add_custom",
    "check_request",
    "describe",
    "draw_leveled",
    "draw_noisy",
    "fit_camera_folder",
    "flat_blocks",
    "resolve",
    "white_level",
]

__getattr__ = lazy_face(
    __name__,
    {
        "custom": ("add_custom",),
        "fit": ("check_request", "resolve"),
        "fit_camera": ("CameraFit", "fit_camera_folder"),
        "layer": ("NoiseLayer", "draw_noisy"),
        "level": ("LeveledNoise", "draw_leveled"),
        "statistics": ("NoiseStatistics", "describe", "flat_blocks", "white_level"),
    },
)
