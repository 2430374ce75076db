"""Run exported denoisers with onnxruntime: batched, on CPU or CUDA, without a training framework.

    from dae_runtime import Denoiser

    with Denoiser("model.onnx") as denoiser:     # opening a model takes far longer than a small image: keep it and reuse it
        clean = denoiser.denoise(noisy)          # (H, W), (H, W, C) or (N, H, W, C); uint8, uint16 or float32

Importing this package loads neither onnxruntime nor the image library; each is loaded at its first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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
from .system.lazy import lazy_face

if TYPE_CHECKING:
    from .folders import FolderOutcome, FolderRequest, run_folder
    from .inference import Denoiser

__all__ = [
    "CancelledError",
    "Contract",
    "DaeError",
    "Denoiser",
    "DeviceError",
    "FolderOutcome",
    "FolderRequest",
    "ImageError",
    "InputError",
    "MissingDependencyError",
    "ModelError",
    "OutputExistsError",
    "__version__",
    "run_folder",
]


# The Denoiser needs numpy, which costs more than everything else here: load it, and what needs it, when it is asked for.
__getattr__ = lazy_face(__name__, {"folders": ("FolderOutcome", "FolderRequest", "run_folder"), "inference": ("Denoiser",)})
