"""Processors and pictures for the tests of this folder."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dae_runtime.images import Image, read_image, write_image

sys.path.insert(0, str(Path(__file__).parent))  # the modules beside this file

from arm64_cores import CORES
from arm64_userland import make_userland
from emulation import INSTALL, Processor, find_emulator, make_arm, make_x86

ROOT = Path(__file__).parents[2]
BUILDING_S = 300


@pytest.fixture(scope="session")
def emulated_haswell() -> Processor:
    """A Haswell that runs the checkout; where it cannot be had, the tests that ask for it are skipped."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        pytest.skip("the emulated Haswell runs this environment's Python, which must be one for Linux on x86-64")
    if not find_emulator("x86_64"):
        pytest.skip(f"the emulated Haswell needs qemu-x86_64-static: {INSTALL}")
    return make_x86("Haswell")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the checkout, built and unpacked: a folder for PYTHONPATH."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder), str(ROOT)]
    subprocess.run(command, check=True, timeout=BUILDING_S)
    (packed,) = folder.glob("*.whl")
    shutil.unpack_archive(packed, folder / "unpacked", "zip")
    return folder / "unpacked"


@pytest.fixture(scope="session")
def make_processor(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Processor]:
    """Make a processor by its name; it runs the wheel."""
    assert (sys.platform, platform.machine()) == ("linux", "x86_64"), "these checks are for Linux on x86-64"
    assert find_emulator("x86_64"), f"these checks need qemu-x86_64-static: {INSTALL}"
    assert find_emulator("aarch64"), f"these checks need qemu-aarch64-static: {INSTALL}"
    folder = Path(os.environ.get("DAE_EMULATION_DIR") or ROOT / ".emulation").absolute()
    prefixes = tmp_path_factory.mktemp("prefixes")

    def make(name: str) -> Processor:
        if name in CORES:
            return make_arm(name, make_userland(folder), prefixes / name, wheel)
        return make_x86(name, wheel)

    return make


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of six small noisy images: gray and color, an even and an odd size, and 16 bits."""
    folder = tmp_path_factory.mktemp("pictures")
    for name in ("camera", "coffee"):  # gray and color
        pixels = read_image(ROOT / "examples" / "noisy" / f"{name}.png").pixels
        middle = pixels[pixels.shape[0] // 2 :, pixels.shape[1] // 2 :]
        deep = middle[:48, :64].astype(np.uint16) * 257  # 255 becomes 65535
        for kind, part in {"even": middle[:96, :96], "odd": middle[:67, :45], "16-bit": deep}.items():
            write_image(folder / f"{name}-{kind}.png", Image(np.ascontiguousarray(part)))
    return folder
