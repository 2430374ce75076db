"""Device names, and onnxruntime's execution providers for them.

A name is a kind, for some kinds with a number or a target: `cuda:1`, `openvino:npu`. Providers:
https://onnxruntime.ai/docs/execution-providers
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..system.bounds import shown
from .packages import installed_engines

AUTO = "auto"
PROVIDERS: Mapping[str, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "tensorrt-rtx": "NvTensorRTRTXExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
    "dnnl": "DnnlExecutionProvider",
    "qnn": "QNNExecutionProvider",
    "nnapi": "NnapiExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "cann": "CANNExecutionProvider",
    "vitisai": "VitisAIExecutionProvider",
    "rknpu": "RknpuExecutionProvider",
    "acl": "ACLExecutionProvider",
    "armnn": "ArmNNExecutionProvider",
    "webgpu": "WebGpuExecutionProvider",
}
"""onnxruntime's providers by device name."""
CPU_PROVIDER, CUDA_PROVIDER = PROVIDERS["cpu"], PROVIDERS["cuda"]
NUMBERED = ("cuda", "tensorrt", "tensorrt-rtx", "directml", "migraphx", "rocm", "cann")
"""Kinds numbered from 0, since a machine may have several."""
NVIDIA = ("cuda", "tensorrt")
_SOURCES = {
    "cuda": "pip install 'onnxruntime-gpu[cuda,cudnn]' in an environment without onnxruntime",
    "tensorrt": "pip install 'onnxruntime-gpu[cuda,cudnn]' in an environment without onnxruntime, and TensorRT",
    "openvino": "pip install onnxruntime-openvino in an environment without onnxruntime",
    "directml": "pip install onnxruntime-directml on Windows, in an environment without onnxruntime",
    "qnn": "pip install onnxruntime-qnn in an environment without onnxruntime",
    "coreml": "onnxruntime for macOS has it",
}


@dataclass(frozen=True)
class Device:
    """A device given by name."""

    kind: str
    """`auto`, or a name in PROVIDERS."""
    which: str = ""
    """Number of a NUMBERED kind; target of `openvino` (`cpu`, `gpu`, `npu`); else empty."""

    def __str__(self) -> str:
        return f"{self.kind}:{self.which}" if self.which else self.kind

    @property
    def provider(self) -> str:
        """Name of onnxruntime's provider."""
        return PROVIDERS[self.kind]

    def providers(self) -> list[Any]:
        """Return the providers for an `InferenceSession`: this device, then fallbacks for operations that it lacks."""
        chain: list[Any] = [(self.provider, self._options())]
        if self.kind == "tensorrt":
            chain += Device("cuda", self.which).providers()[:1]
        return [*chain, CPU_PROVIDER] if self.kind != "cpu" else [CPU_PROVIDER]

    def _options(self) -> dict[str, str]:
        if self.kind == "openvino":
            return {"device_type": self.which.upper()} if self.which else {}
        options = {"device_id": self.which} if self.which else {}
        if self.kind == "cuda":
            # The default algorithm search repeats for every new image size; TF32 changes pixels.
            options |= {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"}
        return options


def parse_device(name: str) -> Device:
    """Parse a device name.

    Raises:
        InputError: The name is unknown.
    """
    match = re.fullmatch(r"([a-z][a-z-]*)(?::([a-z0-9.]{1,8}))?", name) if isinstance(name, str) else None
    if match is None or match[1] not in (AUTO, *PROVIDERS) or not _fits(match[1], match[2]):
        others = ", ".join(kind for kind in PROVIDERS if kind not in ("cpu", "cuda"))
        raise InputError(
            f"device must be auto, cpu, cuda or cuda:N (e.g. cuda:1), or another device of the installed onnxruntime "
            f"({others}), not {shown(name)}."
        )
    kind, which = match[1], match[2] or ""
    return Device(kind, which or ("0" if kind in NUMBERED else ""))


def _fits(kind: str, which: str | None) -> bool:
    if which is None:
        return True
    pattern = r"\d{1,3}" if kind in NUMBERED else r"(cpu|gpu|npu|auto)(\.\d)?" if kind == "openvino" else r"(?!)"
    return re.fullmatch(pattern, which) is not None


def available_devices(engine: Any) -> list[str]:
    """Return the kinds of device that an onnxruntime supports; the machine may lack them."""
    present = engine.get_available_providers()
    return [kind for kind, provider in PROVIDERS.items() if provider in present]


def device_obstacle(engine: Any, device: Device) -> str | None:
    """Return why a device cannot work here, or None if it may.

    Args:
        engine: The onnxruntime module.
        device: Not `auto`.
    """
    if device.provider not in engine.get_available_providers():
        name = {"cuda": "CUDA", "tensorrt": "TensorRT"}.get(device.kind, device.kind)
        package = ", ".join(installed_engines()) or "onnxruntime"
        source = _SOURCES.get(device.kind, "build onnxruntime with it")
        return f"the installed {package} has no {name} support ({source}); it has: {', '.join(available_devices(engine))}"
    if device.kind in NVIDIA:
        return driver_obstacle() or _missing_library(engine, device)
    return None


def cuda_obstacle(engine: Any) -> str | None:
    """Return why CUDA cannot work here, or None if it may."""
    return device_obstacle(engine, Device("cuda", "0"))


def driver_obstacle() -> str | None:
    """Return why there is no NVIDIA driver, or None if there is one."""
    try:
        ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError as error:
        return f"no NVIDIA driver found ({error})"
    return None


def preload_cuda(engine: Any) -> str:
    """Load the CUDA libraries that pip installed; return onnxruntime's messages."""
    printed = io.StringIO()
    if hasattr(engine, "preload_dlls"):
        with contextlib.redirect_stdout(printed), contextlib.suppress(Exception):
            engine.preload_dlls()
    return " ".join(printed.getvalue().split())


def library_error(engine: Any, device: Device) -> str:
    """Return why the library of a device cannot be loaded, or an empty text.

    onnxruntime hides the loader's message; loading the same file again shows which library is missing.
    """
    folder = Path(engine.__file__).parent / "capi"
    library = folder / f"libonnxruntime_providers_{device.kind.replace('-', '_')}.so"
    if not library.exists():
        return ""
    try:
        shared = ctypes.CDLL(os.fspath(folder / "libonnxruntime_providers_shared.so"), mode=ctypes.RTLD_GLOBAL)
        # While loading, the library calls its host without a check for null, which would crash the process.
        shared.Provider_GetHost.restype = ctypes.c_void_p
        if shared.Provider_GetHost():
            ctypes.CDLL(os.fspath(library))
    except (OSError, AttributeError) as error:
        return str(error)
    return ""


def _missing_library(engine: Any, device: Device) -> str | None:
    """Check before onnxruntime does: it prints to standard error for each missing library."""
    preload_cuda(engine)
    error = library_error(engine, device)
    if "cannot open shared object file" not in error:
        return None  # other errors may not affect onnxruntime: let it try
    return f"a library is missing: {error} ({_SOURCES[device.kind]})"
