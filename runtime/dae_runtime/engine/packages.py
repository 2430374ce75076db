"""The packages that provide onnxruntime: installed versions and conflicts."""

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
"""Distributions that all install the folder `onnxruntime`."""


def installed_engines() -> dict[str, str]:
    """Return the versions of the installed distributions that provide `onnxruntime`, by name."""
    import importlib.metadata  # takes 20 ms: not at import of this package

    found = {}
    for name in ENGINE_PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def engine_clash() -> str | None:
    """Return the problem if several engine packages are installed, or None.

    They share an import name and overwrite each other's files: https://github.com/microsoft/onnxruntime/issues/7748
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
    """Return the problem if the loaded onnxruntime is not the installed one, or None.

    This happens when one engine package was installed over another and one of them removed.

    Args:
        loaded: `onnxruntime.__version__`.
    """
    installed = installed_engines()
    if len(installed) != 1 or loaded in installed.values():
        return None
    name, version = next(iter(installed.items()))
    return (
        f"{name} {version} is installed, but its files are of version {loaded}: another package overwrote them. "
        f"Repair it with: pip install --force-reinstall --no-deps {name}=={version}"
    )
