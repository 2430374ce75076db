"""Denoise arrays with an opened model, in pieces that fit into memory. Loads numpy and onnxruntime on first use."""

from typing import TYPE_CHECKING

from ..system.lazy import lazy_face

if TYPE_CHECKING:
    from .controls import DEFAULT_CONTROLS, Controls
    from .denoiser import Denoiser
    from .digests import models_digest, name_of_digest
    from .grouping import by_shape, windows
    from .limits import ENGINE_SHARE
    from .portable import PortableDenoiser

__all__ = [
    "DEFAULT_CONTROLS",
    "ENGINE_SHARE",
    "Controls",
    "Denoiser",
    "PortableDenoiser",
    "by_shape",
    "models_digest",
    "name_of_digest",
    "windows",
]

__getattr__ = lazy_face(
    __name__,
    {
        "controls": ("DEFAULT_CONTROLS", "Controls"),
        "denoiser": ("Denoiser",),
        "digests": ("models_digest", "name_of_digest"),
        "grouping": ("by_shape", "windows"),
        "limits": ("ENGINE_SHARE",),
        "portable": ("PortableDenoiser",),
    },
)
