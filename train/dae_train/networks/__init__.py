"""Networks: built from settings, and started from trained ones."""

from typing import TYPE_CHECKING

from dae_runtime.system.lazy import lazy_face

if TYPE_CHECKING:
    from .autoencoder import FULL_PRECISION, build_network, start_at_mean
    from .fake_quantization import fake_quantized
    from .weights import load, start_from

__all__ = [
    "FULL_PRECISION",
    "build_network",
    "fake_quantized",
    "load",
    "start_at_mean",
    "start_from",
]

__getattr__ = lazy_face(
    __name__,
    {
        "autoencoder": (
            "FULL_PRECISION",
            "build_network",
            "start_at_mean",
        ),
        "fake_quantization": ("fake_quantized",),
        "weights": (
            "load",
            "start_from",
        ),
    },
)
