"""The memory that this process may still take."""

from __future__ import annotations

import math
from pathlib import Path


def available_bytes(root: Path = Path("/")) -> float:
    """Return what can be taken before the kernel ends the process, swap included; infinity where Linux does not tell.

    Sources: https://docs.kernel.org/filesystems/proc.html (MemAvailable), https://docs.kernel.org/admin-guide/cgroup-v2.html
    (memory.max).

    Args:
        root: Parent of `/proc` and `/sys`.
    """
    fields = dict(line.split(":", 1) for line in _read(root / "proc/meminfo").splitlines() if ":" in line)
    if "MemAvailable" not in fields:
        return math.inf
    kib = sum(int(fields[name].split()[0]) for name in ("MemAvailable", "SwapFree") if name in fields)
    return min([kib * 1024.0, *_group_limits(root)])


def _group_limits(root: Path) -> list[float]:
    """Return the limits of the control group of this process and of those around it."""
    groups = root / "sys/fs/cgroup"
    path = next((line[3:] for line in _read(root / "proc/self/cgroup").splitlines() if line.startswith("0::")), None)
    if path is None:
        return []
    group = groups / path.lstrip("/")
    texts = (_read(each / "memory.max").strip() for each in (group, *group.parents) if each.is_relative_to(groups))
    return [float(text) for text in texts if text.isdigit()]


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError:
        return ""
