"""`dae-run --doctor`: facts about the installation and the machine, problems and remedies."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import os
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._version import __version__
from ..engine.devices import (
    CUDA_PROVIDER,
    Device,
    available_devices,
    cuda_obstacle,
    driver_obstacle,
    library_error,
    preload_cuda,
)
from ..engine.packages import engine_clash, installed_engines, version_mismatch
from ..engine.saturation import saturates
from ..engine.session import TELEMETRY_SWITCH, load_engine
from ..errors import DaeError, MissingDependencyError
from ..images import codec_versions, raw_version
from ..inference import Denoiser
from ..models import bundled_models
from ..system.processor import available_cpus, cpu_features, cpu_name, int8_advice
from .self_test import failure_cause, self_test

_CUDA_PACKAGES = re.compile(r"nvidia-(cuda-runtime|cudnn|cublas|cufft)(-cu\d+)?")
_LIBRARIES = ("libcudart.so.13", "libcudart.so.12", "libcudnn.so.9", "libnvinfer.so.10")


@dataclass(frozen=True)
class Diagnosis:
    """Facts, advice and problems as text."""

    facts: tuple[tuple[str, str], ...]
    """Name and value."""
    problems: tuple[str, ...]
    """Problems with their remedies; empty if there are none."""
    advice: tuple[str, ...] = ()
    """Possible improvements."""


def examine(root: Path = Path("/")) -> Diagnosis:
    """Examine the installation and the machine. Never raises; load failures become problems.

    Args:
        root: Parent of `/proc` and `/sys`.
    """
    facts: list[tuple[str, str]] = list(_basic_facts(root))
    problems: list[str] = []
    try:
        facts += [("images", codec_versions()), ("camera raw", raw_version())]
    except MissingDependencyError as error:
        problems.append(str(error))
    advice = [text for level, text in (int8_advice(root),) if level == "slow"]
    try:
        engine = load_engine()
    except MissingDependencyError as error:
        problems.append(str(error))
    else:
        facts.append(("int8 sums", _sums(engine)))
        facts += _engine_facts(engine)
        outcomes, failures = _self_tests()
        facts.append(("self-test", outcomes))
        problems += failures
        problems += _engine_problems(engine)
        advice += _engine_advice(engine)
    if clash := engine_clash():
        problems.append(clash)
    return Diagnosis(tuple(facts), tuple(problems), tuple(advice))


def _basic_facts(root: Path) -> Iterator[tuple[str, str]]:
    yield "edge-denoiser", __version__
    yield "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}, {' '.join(platform.libc_ver())}"
    yield "numpy", importlib.metadata.version("numpy")
    yield "processor", f"{cpu_name(root)} ({', '.join(cpu_features(root)) or 'flags unknown'})"
    yield "int8", int8_advice(root)[1]
    yield "threads", f"{available_cpus(root)} of {os.cpu_count()} CPUs usable (affinity and control groups considered)"
    yield "models", ", ".join(bundled_models()) or "none bundled"


def _sums(engine: Any) -> str:
    if not saturates(engine):
        return "exact: this engine adds the products of INT8 models without loss on this processor"
    return (
        "saturates sums: files of this version stay within 16 bits and are exact; older INT8 files run on exact kernels, "
        "about half as fast"
    )


def _self_tests() -> tuple[str, list[str]]:
    """Replay the golden samples of all bundled models on the CPU; return a summary and the problems."""
    failures = []
    models = bundled_models()
    for name, path in models.items():
        try:
            with Denoiser(path, "cpu") as denoiser:
                outcome = self_test(denoiser)
                if not outcome.passed:
                    failures.append(f"the bundled model {name} fails its self-test: {outcome}; {failure_cause(denoiser)}")
        except DaeError as error:
            failures.append(f"the bundled model {name} cannot be run: {error}")
    return f"{len(models) - len(failures)} of {len(models)} bundled models passed", failures


def _engine_facts(engine: Any) -> Iterator[tuple[str, str]]:
    packages = ", ".join(f"{name} {version}" for name, version in installed_engines().items())
    yield "onnxruntime", f"{engine.__version__} from {packages or 'an unknown package'}"
    yield "devices", ", ".join(available_devices(engine))
    yield (
        "telemetry",
        "off" if os.environ.get(TELEMETRY_SWITCH, "0").lower() not in ("0", "false", "") else "onnxruntime's default",
    )
    obstacle = cuda_obstacle(engine)
    yield "cuda", obstacle or "looks usable; check with dae-run --self-test --device cuda"
    if driver := _driver_version():
        yield "driver", driver
    if CUDA_PROVIDER in engine.get_available_providers():
        yield "cuda needs", f"CUDA {getattr(engine, 'cuda_version', '') or 'version unknown'} and cuDNN 9"
        preload_cuda(engine)
        yield "gpus", _cuda_devices()[0]
        yield "cuda has", ", ".join([*_loadable(_LIBRARIES), *_cuda_packages()]) or "no CUDA library"


def _engine_problems(engine: Any) -> Iterator[str]:
    if mismatch := version_mismatch(engine.__version__):
        yield mismatch
    if CUDA_PROVIDER not in engine.get_available_providers():
        return
    obstacle = cuda_obstacle(engine)
    if obstacle:
        yield (
            f"onnxruntime-gpu cannot use a GPU here: {obstacle}. Device auto runs on the CPU; on a machine without a GPU, "
            "install onnxruntime instead, in a new environment, to save space"
        )
        return
    if error := library_error(engine, Device("cuda", "0")):
        yield f"the CUDA provider cannot be loaded: {error}. pip install 'onnxruntime-gpu[cuda,cudnn]' brings CUDA and cuDNN"
    if failure := _cuda_devices()[1]:
        yield f"the CUDA runtime finds no usable GPU: {failure}. Check nvidia-smi; a newer CUDA may need a newer driver"
    if "libcudnn.so.9" not in _loadable(_LIBRARIES):
        yield "cuDNN 9 cannot be loaded: convolutions will fail on CUDA. pip install 'onnxruntime-gpu[cuda,cudnn]' brings it"


def _engine_advice(engine: Any) -> Iterator[str]:
    if driver_obstacle() is None and CUDA_PROVIDER not in engine.get_available_providers():
        yield (
            "this machine has an NVIDIA driver, and the installed onnxruntime cannot use it. For the GPU: "
            "pip install 'onnxruntime-gpu[cuda,cudnn]' in a new environment without onnxruntime"
        )


def _driver_version() -> str:
    with contextlib.suppress(OSError):
        match = re.search(
            r"Kernel Module\D*([\d.]+)", Path("/proc/driver/nvidia/version").read_text("utf-8", errors="replace")
        )
        return f"NVIDIA {match[1]}" if match else "NVIDIA, version unknown"
    return ""


def _cuda_devices() -> tuple[str, str]:
    """Return the number of GPUs of the CUDA runtime, and its error (empty for none)."""
    for name in _loadable(_LIBRARIES[:2]):
        runtime, count = ctypes.CDLL(name), ctypes.c_int(0)
        runtime.cudaGetErrorString.restype = ctypes.c_char_p
        code = runtime.cudaGetDeviceCount(ctypes.byref(count))
        return ("none", runtime.cudaGetErrorString(code).decode()) if code else (str(count.value), "")
    return "unknown", ""


def _loadable(libraries: tuple[str, ...]) -> list[str]:
    found = []
    for name in libraries:
        with contextlib.suppress(OSError):
            ctypes.CDLL(name)
            found.append(name)
    return found


def _cuda_packages() -> list[str]:
    names = ((part.name or "", part.version) for part in importlib.metadata.distributions())
    return sorted({f"{name} {version}" for name, version in names if _CUDA_PACKAGES.fullmatch(name)})
