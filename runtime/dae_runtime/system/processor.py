"""The processor: usable CPUs and instruction sets. On systems other than Linux only the CPU count."""

from __future__ import annotations

import ctypes
import math
import os
import platform
from collections.abc import Iterator
from pathlib import Path

FAST_INSTRUCTIONS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "asimd", "asimddp", "i8mm")
"""Flags of /proc/cpuinfo that determine the speed of networks, above all INT8."""
_INT8_INSTRUCTIONS = (
    ({"amx_int8"}, "AMX"),
    ({"avx512_vnni", "avx_vnni"}, "VNNI"),
    ({"i8mm"}, "the ARM 8-bit matrix product"),
    ({"asimddp"}, "the ARM dot product"),
)
"""Flags of instructions that multiply 8-bit numbers, fastest first, with display names."""


def available_cpus(root: Path = Path("/")) -> int:
    """Return the number of CPUs that this process can use, at least 1.

    The minimum of the affinity mask and the control group's quota, for containers limited to a few CPUs.

    Args:
        root: Parent of `/proc` and `/sys`.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([affinity, *(math.ceil(quota) for quota in _quotas(root))]))


def in_subinterpreter() -> bool:
    """Tell whether this code runs in another interpreter than the process's first."""
    current, number = ctypes.pythonapi.PyInterpreterState_Get, ctypes.pythonapi.PyInterpreterState_GetID
    current.restype, number.argtypes, number.restype = ctypes.c_void_p, [ctypes.c_void_p], ctypes.c_int64
    return bool(number(current()) != 0)


def cpu_features(root: Path = Path("/")) -> list[str]:
    """Return the processor's FAST_INSTRUCTIONS; empty if unknown.

    Args:
        root: Parent of `/proc`.
    """
    present = (_cpuinfo(root, "flags") or _cpuinfo(root, "Features")).split()  # x86 or ARM
    return [flag for flag in FAST_INSTRUCTIONS if flag in present]


def int8_advice(root: Path = Path("/")) -> tuple[str, str]:
    """Return advice on INT8 models for this processor.

    Measured with the networks of this toolkit (docs/processors.md): INT8 takes about half the time of float32 with AVX2, and
    less with the listed instructions.

    Args:
        root: Parent of `/proc`.

    Returns:
        A level (`fast`, `good`, `slow` or `unknown`) and a sentence.
    """
    features = cpu_features(root)
    for flags, name in _INT8_INSTRUCTIONS:
        if flags.intersection(features):
            return "fast", f"fast: {name} multiplies 8-bit numbers directly; use INT8 models (dae-export --quantize)"
    if not features:
        return "unknown", "unknown: the system does not report the processor's instructions; time both kinds"
    if "avx2" in features:
        return "good", "good: with AVX2 an INT8 model takes about half the time of the float32 one; VNNI would take less"
    return "slow", (
        "slow: the processor lacks AVX2, VNNI, AMX and the ARM dot product; time INT8 against float32 before you choose; INT8 "
        "is still the smaller file"
    )


def cpu_name(root: Path = Path("/")) -> str:
    """Return the processor's model name, else its architecture.

    Args:
        root: Parent of `/proc`.
    """
    return _cpuinfo(root, "model name") or platform.machine()


def _cpuinfo(root: Path, field: str) -> str:
    for line in _read(root / "proc/cpuinfo").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == field:
            return value.strip()
    return ""


def _quotas(root: Path) -> Iterator[float]:
    """Yield the CPU quota, in CPUs, of each control group of this process.

    Source: https://docs.kernel.org/admin-guide/cgroup-v2.html (cpu.max) and cgroup-v1 (cpu.cfs_quota_us).
    """
    groups = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        unified = controllers == ""
        if not unified and "cpu" not in controllers.split(","):
            continue
        base = groups if unified else groups / "cpu"
        group = base / path.lstrip("/")
        while True:  # limits of ancestors apply too
            quota = _unified_quota(group) if unified else _legacy_quota(group)
            if quota is not None:
                yield quota
            if group == base or base not in group.parents:
                break
            group = group.parent


def _unified_quota(group: Path) -> float | None:
    words = _read(group / "cpu.max").split()
    return _ratio(*words) if len(words) == 2 else None


def _legacy_quota(group: Path) -> float | None:
    return _ratio(_read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us"))


def _ratio(quota_us: str, period_us: str) -> float | None:
    try:
        quota, period = int(quota_us), int(period_us)
    except ValueError:  # "max", or no such file
        return None
    return quota / period if quota > 0 and period > 0 else None


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError:
        return ""
