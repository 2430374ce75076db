"""What a process may still take, by files as Linux writes them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from dae_runtime.system.memory import available_bytes

KIB = 1024


def machine(root: Path, meminfo: str, group: str = "", limits: dict[str, str] | None = None) -> Path:
    for name, text in {"proc/meminfo": meminfo, "proc/self/cgroup": group, **(limits or {})}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("group", "limits", "expected"),
    [
        ("", {}, 5000 * KIB),
        ("0::/\n", {"sys/fs/cgroup/memory.max": "max\n"}, 5000 * KIB),
        ("0::/a/b\n", {"sys/fs/cgroup/a/memory.max": "4096\n", "sys/fs/cgroup/a/b/memory.max": "8192\n"}, 4096),
        ("12:cpu:/x\n0::/a\n", {"sys/fs/cgroup/a/memory.max": "99999999999\n"}, 5000 * KIB),
    ],
)
def test_the_least_of_all_limits_counts(tmp_path, group, limits, expected):
    meminfo = "MemTotal: 9000 kB\nMemAvailable:    4000 kB\nSwapFree: 1000 kB\n"
    assert available_bytes(machine(tmp_path, meminfo, group, limits)) == expected


def test_where_nothing_is_told_nothing_is_refused(tmp_path):
    assert available_bytes(tmp_path) == math.inf
    assert available_bytes(machine(tmp_path, "MemTotal: 1 kB\n")) == math.inf


def test_here():
    assert 0 < available_bytes() < math.inf
