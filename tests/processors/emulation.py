"""Processors that are not here, emulated: qemu's user mode runs one program, translated instruction by instruction."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from arm64_cores import make_prefix
from arm64_userland import Userland

INSTALL = "apt-get install qemu-user-static"
NATIVE = "native"
X86_MODELS = {
    "Nehalem": "Nehalem",  # SSE 4.2, no AVX: the oldest kernels
    # AVX2 without VNNI. What follows is what qemu warns that it lacks, of no use to a program.
    "Haswell": "Haswell,-pcid,-x2apic,-tsc-deadline,-hle,-invpcid,-rtm",
}
"""What qemu-x86_64's -cpu takes, by the name of the processor."""
PATIENCE_S = 300


@dataclass(frozen=True)
class Processor:
    """A processor that runs Python: this machine's, or an emulated one."""

    name: str
    python: tuple[str, ...]
    """The words of the command that starts Python on it."""
    python_path: tuple[Path, ...] = ()
    """Folders that come before what this Python has installed."""

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run Python with these arguments, outside of the checkout."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        path = os.pathsep.join(map(str, self.python_path))
        environment = kept | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        words = [*self.python, *map(str, arguments)]
        return subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S, check=False, cwd="/", env=environment)

    def dae_run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run `dae-run` on it. The device of a self-test and of a run is the CPU, whatever else this machine has."""
        return self.run("-m", "dae_runtime", *arguments)


def find_emulator(architecture: str) -> str:
    """Return the path of qemu's user mode for an architecture, or an empty text."""
    names = (f"qemu-{architecture}-static", f"qemu-{architecture}")  # the static one is gone from newer systems
    return next((path for name in names if (path := shutil.which(name))), "")


def make_x86(name: str, *python_path: Path) -> Processor:
    """Return this machine's processor (NATIVE) or one of X86_MODELS; it runs this environment's Python."""
    emulator = () if name == NATIVE else (find_emulator("x86_64"), "-cpu", X86_MODELS[name])
    return Processor(name, (*emulator, sys.executable), python_path)


def make_arm(name: str, userland: Userland, folder: Path, *python_path: Path) -> Processor:
    """Return one of the ARM cores; it runs the userland's Python.

    Args:
        name: One of `arm64_cores.CORES`.
        userland: From `make_userland`.
        folder: A new folder for the description of the core.
        python_path: Folders that come before the userland's packages.
    """
    prefix = make_prefix(folder, userland.root, name)
    emulator = (find_emulator("aarch64"), "-cpu", name, "-L", str(prefix))
    return Processor(name, (*emulator, str(userland.python)), (*python_path, userland.site))
