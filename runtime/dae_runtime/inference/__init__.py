"""Denoise arrays with an opened model, in pieces that fit into memory. Loads numpy and onnxruntime on first use."""

from typing import TYPE_CHECKING

from ..system.lazy import lazy_face

if TYPE_CHECKING:
    from .denoiser import Denoiser
    from .grouping import by_shape, windows
    from .limits import ENGINE_SHARE

__all__ = [
    "ENGINE_SHARE",
    "Denoiser",
    "by_shape",
    "windows",
]

__getattr__ = lazy_face(
    __name__, {"denoiser": ("Denoiser",), "grouping": ("by_shape", "windows"), "limits": ("ENGINE_SHARE",)}
)
