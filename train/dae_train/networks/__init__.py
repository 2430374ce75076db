"""Networks: built from settings, or initialized from trained ones."""

from typing import TYPE_CHECKING

from dae_runtime.system.lazy import lazy_face

if TYPE_CHECKING:
    from .autoencoder import FULL_PRECISION, build_network, start_at_mean
    from .custom import copy_network, custom_settings
    from .fake_quantization import fake_quantized
    from .weights import load_trained, start_from

__all__ = [
    "FULL_PRECISION",
    "build_network",
    "copy_network",
    "custom_settings",
    "fake_quantized",
    "load_trained",
    "start_at_mean",
    "start_from",
]

__getattr__ = lazy_face(
    __name__,
    {
        "autoencoder": ("FULL_PRECISION", "build_network", "start_at_mean"),
        "custom": ("copy_network", "custom_settings"),
        "fake_quantization": ("fake_quantized",),
        "weights": ("load_trained", "start_from"),
    },
)
