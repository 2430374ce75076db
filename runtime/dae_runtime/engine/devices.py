"""Devices by name, and what they are to onnxruntime: execution providers with options.

A name is a kind, and for some kinds which one of several: `cuda:1`, `openvino:npu`. onnxruntime calls them providers:
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
"""onnxruntime's providers by the names that devices have here."""
CPU_PROVIDER, CUDA_PROVIDER = PROVIDERS["cpu"], PROVIDERS["cuda"]
NUMBERED = ("cuda", "tensorrt", "tensorrt-rtx", "directml", "migraphx", "rocm", "cann")
"""Kinds of which a machine may hold several, counted from 0."""
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
    """A device as the user names it."""

    kind: str
    """`auto`, or a name in PROVIDERS."""
    which: str = ""
    """The number of a NUMBERED kind; for `openvino` what it shall use (`cpu`, `gpu`, `npu`); else empty."""

    def __str__(self) -> str:
        return f"{self.kind}:{self.which}" if self.which else self.kind

    @property
    def provider(self) -> str:
        """The name that onnxruntime has for it."""
        return PROVIDERS[self.kind]

    def providers(self) -> list[Any]:
        """Return what an `InferenceSession` takes: this device, then what may run the operations that it lacks."""
        chain: list[Any] = [(self.provider, self._options())]
        if self.kind == "tensorrt":
            chain += Device("cuda", self.which).providers()[:1]
        return [*chain, CPU_PROVIDER] if self.kind != "cpu" else [CPU_PROVIDER]

    def _options(self) -> dict[str, str]:
        if self.kind == "openvino":
            return {"device_type": self.which.upper()} if self.which else {}
        options = {"device_id": self.which} if self.which else {}
        if self.kind == "cuda":
            # The algorithm search of the default setting is repeated for every new image size; TF32 would change pixels.
            options |= {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"}
        return options


def parse_device(name: str) -> Device:
    """Read a device's name.

    Raises:
        InputError: It is no name of a device.
    """
    match = re.fullmatch(r"([a-z][a-z-]*)(?::([a-z0-9.]{1,8}))?", name) if isinstance(name, str) else None
    if match is None or match[1] not in (AUTO, *PROVIDERS) or not _fits(match[1], match[2]):
        others = ", ".join(kind for kind in PROVIDERS if kind not in ("cpu", "cuda"))
        raise InputError(
            f"device must be auto, cpu, cuda or cuda:N (for instance cuda:1), or a device that the installed onnxruntime was "
            f"made for ({others}), not {name!r}."
        )
    kind, which = match[1], match[2] or ""
    return Device(kind, which or ("0" if kind in NUMBERED else ""))


def _fits(kind: str, which: str | None) -> bool:
    if which is None:
        return True
    pattern = r"\d{1,3}" if kind in NUMBERED else r"(cpu|gpu|npu|auto)(\.\d)?" if kind == "openvino" else r"(?!)"
    return re.fullmatch(pattern, which) is not None


def available_devices(engine: Any) -> list[str]:
    """Return the kinds of device that an onnxruntime was made for; whether the machine has them is another question."""
    present = engine.get_available_providers()
    return [kind for kind, provider in PROVIDERS.items() if provider in present]


def device_obstacle(engine: Any, device: Device) -> str | None:
    """Return why a device cannot work here, or None when nothing speaks against trying.

    Args:
        engine: The onnxruntime module.
        device: Not `auto`.
    """
    if device.provider not in engine.get_available_providers():
        name = {"cuda": "CUDA", "tensorrt": "TensorRT"}.get(device.kind, device.kind)
        package = ", ".join(installed_engines()) or "onnxruntime"
        source = _SOURCES.get(device.kind, "it takes an onnxruntime that was built with it")
        return f"the installed {package} has no {name} support ({source}); it has: {', '.join(available_devices(engine))}"
    if device.kind in NVIDIA:
        return driver_obstacle() or _missing_library(engine, device)
    return None


def cuda_obstacle(engine: Any) -> str | None:
    """Return why CUDA cannot work here, or None when nothing speaks against trying."""
    return device_obstacle(engine, Device("cuda", "0"))


def driver_obstacle() -> str | None:
    """Return why there is no NVIDIA driver, or None if there is one."""
    try:
        ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError as error:
        return f"no NVIDIA driver is found ({error})"
    return None


def preload_cuda(engine: Any) -> str:
    """Load the CUDA libraries that pip installed; return what onnxruntime prints about it."""
    printed = io.StringIO()
    if hasattr(engine, "preload_dlls"):
        with contextlib.redirect_stdout(printed), contextlib.suppress(Exception):
            engine.preload_dlls()
    return " ".join(printed.getvalue().split())


def library_error(engine: Any, device: Device) -> str:
    """Return why the library of a device cannot be loaded, or an empty text.

    onnxruntime keeps the loader's message to itself; loading the same file again tells which library is missing.
    """
    folder = Path(engine.__file__).parent / "capi"
    library = folder / f"libonnxruntime_providers_{device.kind.replace('-', '_')}.so"
    if not library.exists():
        return ""
    try:
        shared = ctypes.CDLL(os.fspath(folder / "libonnxruntime_providers_shared.so"), mode=ctypes.RTLD_GLOBAL)
        # While it is loaded, the library calls its host without asking whether there is one yet: that would end the process.
        shared.Provider_GetHost.restype = ctypes.c_void_p
        if shared.Provider_GetHost():
            ctypes.CDLL(os.fspath(library))
    except (OSError, AttributeError) as error:
        return str(error)
    return ""


def _missing_library(engine: Any, device: Device) -> str | None:
    """Look before onnxruntime does, because it writes to standard error about each library that it misses."""
    preload_cuda(engine)
    error = library_error(engine, device)
    if "cannot open shared object file" not in error:
        return None  # another complaint may not be onnxruntime's own: let it try
    return f"a library is missing: {error} ({_SOURCES[device.kind]})"
