"""Run exported denoisers with onnxruntime on CPU or CUDA, without a training framework.

    from dae_runtime import Denoiser, FolderRequest, run_folder

    with Denoiser("model.onnx") as denoiser:     # open once and reuse: opening costs more than a small image
        clean = denoiser.denoise(noisy)          # (H, W), (H, W, C) or (N, H, W, C); uint8, uint16 or float32
        outcome = run_folder(FolderRequest("noisy/", "clean/"), denoiser)      # what `dae-run noisy/ clean/` does

Importing this package loads neither onnxruntime nor the image library; each is loaded on first use.
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
    from .folders import Cluster, FolderOutcome, FolderRequest, merge_manifests, run_folder
    from .inference import Denoiser

__all__ = [
    "CancelledError",
    "Cluster",
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
    "merge_manifests",
    "run_folder",
]


def __getattr__(name: str) -> Any:
    # These load numpy, which takes longer than everything else here (PEP 562).
    if name == "Denoiser":
        from .inference import Denoiser

        return Denoiser
    if name in ("Cluster", "FolderOutcome", "FolderRequest", "merge_manifests", "run_folder"):
        from . import folders

        return getattr(folders, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
