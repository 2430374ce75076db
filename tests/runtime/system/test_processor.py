from __future__ import annotations

import os

import pytest

from dae_runtime.system.processor import available_cpus, cpu_features


def write(root, **files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def affinity():
    return len(os.sched_getaffinity(0))


def test_the_affinity_mask_is_respected(tmp_path, run_python):
    assert available_cpus(tmp_path) == affinity()
    one = min(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, [{one}]); from dae_runtime.system.processor import available_cpus as f"
    assert run_python("-c", f"{code}; print(f())").stdout.strip() == "1"


@pytest.mark.parametrize(("limit", "cpus"), [("50000 100000", 1), ("100000 100000", 1), ("max 100000", None), ("junk", None)])
def test_a_quota_of_the_second_kind(tmp_path, limit, cpus):
    write(
        tmp_path, **{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": limit, "sys/fs/cgroup/a/b/cpu.max": "max 1"}
    )
    assert available_cpus(tmp_path) == (cpus or affinity())


@pytest.mark.parametrize(("quota", "cpus"), [("100000", 1), ("-1", None)])
def test_a_quota_of_the_first_kind(tmp_path, quota, cpus):
    write(
        tmp_path,
        **{
            "proc/self/cgroup": "4:memory:/\n3:cpu,cpuacct:/\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": quota,
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
        },
    )
    assert available_cpus(tmp_path) == (cpus or affinity())


def test_features_of_intel_and_arm(tmp_path):
    assert cpu_features(tmp_path) == []
    write(tmp_path, **{"proc/cpuinfo": "model name : X\nflags\t\t: fpu avx2 avx512_vnni amx_int8\n"})
    assert cpu_features(tmp_path) == ["avx2", "avx512_vnni", "amx_int8"]
    write(tmp_path, **{"proc/cpuinfo": "Features : fp asimd asimddp\n"})
    assert cpu_features(tmp_path) == ["asimd", "asimddp"]
