"""An arm64 userland in a folder, for qemu-aarch64: this Debian's Python, built for arm64, and the wheels of the runtime.

Needs neither root nor a container: apt runs with a state of its own, and packages are unpacked, not installed.

    python tests/processors/arm64_userland.py .emulation      # made once; 200 MB

The versions of the Python packages are those of the environment that runs this, so that only the processor differs.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from dae_runtime.engine.packages import installed_engines

DEBIAN_PACKAGES = ("python3", "libstdc++6")
"""What is asked of apt, which adds what they depend on. No maintainer script runs: Python and the wheels need none."""
PINNED = ("numpy", "click", "cffi", "pyvips-binary")
PURE = "pyvips"
"""Comes as source only. It is pure Python, its compiled part is in pyvips-binary: a copy of the environment's will do."""
PLATFORMS = ("manylinux2014_aarch64", *(f"manylinux_2_{minor}_aarch64" for minor in range(17, 36)))
APT_CONFIG = """\
APT::Architecture "arm64";
APT::Architectures {{ "arm64"; }};
APT::Sandbox::User "root";
Acquire::Languages "none";
Debug::NoLocking "1";
Dir::State "{apt}";
Dir::State::status "{apt}/status";
Dir::Cache "{apt}";
"""
PATIENCE_S = 900


@dataclass(frozen=True)
class Userland:
    """What runs under qemu-aarch64."""

    root: Path
    """Debian's files, as below `/`."""
    site: Path
    """The Python packages that the runtime depends on; for PYTHONPATH."""

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return (self.root / "usr/bin/python3").resolve()  # the link is relative


def make_userland(folder: Path) -> Userland:
    """Make the userland `folder/arm64`, or take the one that is there if the same packages were asked for.

    Raises:
        RuntimeError: A command failed; the text holds what it said.
    """
    wanted = json.dumps(_wanted(), indent=1)
    done = folder / "arm64"
    packages = done / "packages.json"  # written last
    if not (packages.exists() and packages.read_text() == wanted):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as name:
            new = Path(name) / "arm64"
            _fill(Userland(new / "root", new / "site"), Path(name) / "apt")
            (new / "packages.json").write_text(wanted)
            shutil.rmtree(done, ignore_errors=True)
            new.rename(done)
    return Userland(done / "root", done / "site")


def _wanted() -> dict[str, object]:
    release = platform.freedesktop_os_release()
    system = f"{release['ID']} {release.get('VERSION_ID', '')}"
    pure = f"{PURE}=={importlib.metadata.version(PURE)}"
    return {"system": system, "debian": DEBIAN_PACKAGES, "python": [*_pins(), pure], "platforms": PLATFORMS}


def _pins() -> list[str]:
    versions = {name: importlib.metadata.version(name) for name in PINNED}
    versions["onnxruntime"] = next(iter(installed_engines().values()))  # onnxruntime-gpu has the same versions
    return [f"{name}=={version}" for name, version in versions.items()]


def _fill(userland: Userland, apt: Path) -> None:
    userland.root.mkdir(parents=True)
    for package in _download(apt):
        _run("dpkg", "-x", package, userland.root)
    version = userland.python.name.removeprefix("python")
    target = [f"--platform={name}" for name in PLATFORMS]
    target += ["--implementation=cp", f"--python-version={version}", "--only-binary=:all:", "--no-compile"]
    _run(sys.executable, "-m", "pip", "install", "--quiet", "--no-input", f"--target={userland.site}", *target, *_pins())
    _copy_pure(userland.site)


def _download(apt: Path) -> list[Path]:
    (apt / "lists/partial").mkdir(parents=True)
    (apt / "archives/partial").mkdir(parents=True)
    (apt / "status").touch()  # nothing is installed
    config = apt / "apt.conf"
    config.write_text(APT_CONFIG.format(apt=apt))
    environment = os.environ | {"APT_CONFIG": str(config)}
    _run("apt-get", "update", "-qq", env=environment, check=False)  # another source may fail; what is missing fails next
    options = ("--download-only", "--no-install-recommends", "-qq", "-y")
    _run("apt-get", "install", *options, *DEBIAN_PACKAGES, env=environment)
    return sorted((apt / "archives").glob("*.deb"))


def _copy_pure(site: Path) -> None:
    distribution = importlib.metadata.distribution(PURE)
    for file in distribution.files or ():
        if file.suffix not in (".so", ".pyc") and ".." not in file.parts:
            (site / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path(str(distribution.locate_file(file))), site / file)


def _run(*command: str | Path, env: dict[str, str] | None = None, check: bool = True) -> None:
    words = [str(word) for word in command]
    result = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S, check=False, env=env)
    if check and result.returncode != 0:
        raise RuntimeError(f"{' '.join(words[:4])} ... failed with exit code {result.returncode}:\n{result.stderr.strip()}")


if __name__ == "__main__":
    print(make_userland(Path(sys.argv[1]).absolute()).python)
