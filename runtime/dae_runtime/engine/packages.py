"""The packages that provide onnxruntime: which are installed, and whether they are in each other's way."""

from __future__ import annotations

import contextlib

ENGINE_PACKAGES = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-openvino",
    "onnxruntime-directml",
    "onnxruntime-qnn",
    "onnxruntime-migraphx",
    "onnxruntime-training",
    "ort-nightly",
)
"""Distributions that all install the one folder `onnxruntime`."""


def installed_engines() -> dict[str, str]:
    """Return the versions of the installed distributions that provide `onnxruntime`, by name."""
    import importlib.metadata  # it takes 20 ms, which a program that only imports this package should not pay

    found = {}
    for name in ENGINE_PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def engine_clash() -> str | None:
    """Return what is wrong when several engine packages are installed, or None.

    They are one import name and overwrite each other's files: https://github.com/microsoft/onnxruntime/issues/7748
    """
    names = list(installed_engines())
    if len(names) < 2:
        return None
    wanted = "'onnxruntime-gpu[cuda,cudnn]'" if "onnxruntime-gpu" in names else "onnxruntime"
    return (
        f"{' and '.join(names)} are {'both' if len(names) == 2 else 'all'} installed; they overwrite each other and may "
        f"silently run on the CPU. Uninstall them, then install one: pip uninstall {' '.join(names)}; "
        f"pip install {wanted}"
    )


def version_mismatch(loaded: str) -> str | None:
    """Return what is wrong when the loaded onnxruntime is not the installed one, or None.

    It happens when one engine package was installed over another and one of them removed again.

    Args:
        loaded: `onnxruntime.__version__`.
    """
    installed = installed_engines()
    if len(installed) != 1 or loaded in installed.values():
        return None
    name, version = next(iter(installed.items()))
    return (
        f"{name} {version} is installed, but the files are those of version {loaded}: another package wrote over them. "
        f"Repair it with: pip install --force-reinstall --no-deps {name}=={version}"
    )
