"""Run exported denoisers with onnxruntime: batched, on CPU or CUDA, without a training framework.

    from dae_runtime import Denoiser

    with Denoiser("model.onnx") as denoiser:     # opening a model takes far longer than a small image: keep it and reuse it
        clean = denoiser.denoise(noisy)          # (H, W), (H, W, C) or (N, H, W, C); uint8, uint16 or float32

Importing this package loads neither onnxruntime nor the image library; each is loaded at its first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._version import __version__
from .contract import Contract
from .errors import (
    CancelledError,
    DaeError,
    DeviceError,
    ImageError,
    InputError,
    MissingDependencyError,
    ModelError,
    OutputExistsError,
)

if TYPE_CHECKING:
    from .inference import Denoiser

__all__ = [
    "CancelledError",
    "Contract",
    "DaeError",
    "Denoiser",
    "DeviceError",
    "ImageError",
    "InputError",
    "MissingDependencyError",
    "ModelError",
    "OutputExistsError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    # The Denoiser needs numpy, which costs more than everything else here: load it when it is asked for (PEP 562).
    if name == "Denoiser":
        from .inference import Denoiser

        return Denoiser
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
