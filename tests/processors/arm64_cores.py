"""The ARM cores that are emulated, and the files in which Linux describes them.

qemu-user shows a program the host's /proc/cpuinfo and /sys/devices/system/cpu. The library with which onnxruntime looks at the
processor (https://github.com/pytorch/cpuinfo) follows a null pointer where an ARM program finds an x86 machine there. qemu's
prefix (-L) comes first for these paths as for all others: what is written there takes their place.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_BASE = "fp asimd evtstrm crc32 cpuid"
_V82 = f"{_BASE} aes pmull sha1 sha2 atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"


@dataclass(frozen=True)
class Core:
    """How Linux describes a core."""

    part: int
    """The maker's (ARM's) number for it."""
    features: str
    """Its instructions, as /proc/cpuinfo names them."""


CORES = {
    "cortex-a53": Core(0xD03, f"{_BASE} aes pmull sha1 sha2"),
    "cortex-a72": Core(0xD08, _BASE),  # as in the Raspberry Pi 4, which has no cryptography
    "cortex-a76": Core(0xD0B, _V82),  # as in the Raspberry Pi 5; from here on with the dot product
    "max": Core(0xD4F, f"{_V82} jscvt fcma sha3 sha512 sve asimdfhm ssbs sve2 i8mm svei8mm bf16"),
}
"""By the name that qemu's -cpu takes; `max` is all that qemu knows."""
_CACHES = (("1", "Data", "32K"), ("1", "Instruction", "48K"), ("2", "Unified", "1024K"))


def make_prefix(folder: Path, root: Path, name: str) -> Path:
    """Make a prefix for qemu's -L: the userland `root`, by links, and the description of a machine of such cores."""
    folder.mkdir()
    for entry in root.iterdir():
        (folder / entry.name).symlink_to(entry)
    for path, text in _description(CORES[name], os.cpu_count() or 1):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


def _description(core: Core, count: int) -> Iterator[tuple[str, str]]:
    yield "proc/cpuinfo", "".join(_cpuinfo(core, index) for index in range(count))
    everyone = f"0-{count - 1}" if count > 1 else "0"
    base = "sys/devices/system/cpu"
    yield from ((f"{base}/{name}", f"{everyone}\n") for name in ("possible", "present", "online"))
    yield f"{base}/kernel_max", "255\n"
    for index in range(count):
        for path, value in _cpu(index, everyone):
            yield f"{base}/cpu{index}/{path}", f"{value}\n"


def _cpuinfo(core: Core, index: int) -> str:
    fields = {
        "processor": index,
        "BogoMIPS": "108.00",
        "Features": core.features,
        "CPU implementer": "0x41",
        "CPU architecture": 8,
        "CPU variant": "0x0",
        "CPU part": f"{core.part:#x}",
        "CPU revision": 3,
    }
    return "".join(f"{name}\t: {value}\n" for name, value in fields.items()) + "\n"


def _cpu(index: int, everyone: str) -> Iterator[tuple[str, object]]:
    yield from (("cpufreq/cpuinfo_max_freq", 1800000), ("cpufreq/cpuinfo_min_freq", 600000))
    yield from (("topology/physical_package_id", 0), ("topology/core_id", index))
    for name in ("cluster_cpus_list", "core_siblings_list", "package_cpus_list"):
        yield f"topology/{name}", everyone
    for number, (level, kind, size) in enumerate(_CACHES):
        users = everyone if kind == "Unified" else index
        for name, value in (("level", level), ("type", kind), ("size", size), ("shared_cpu_list", users)):
            yield f"cache/index{number}/{name}", value
