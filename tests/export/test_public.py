"""The public face of the package."""

from __future__ import annotations

import subprocess
import sys

import dae_export
from dae_runtime.errors import DaeError

HEAVY = ("tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime")


def test_every_error_is_an_export_error():
    errors = [getattr(dae_export, name) for name in dae_export.__all__ if name.endswith("Error")]
    assert len(errors) == 7
    assert all(issubclass(error, dae_export.ExportError) and issubclass(error, DaeError) for error in errors)


def test_importing_the_package_and_the_command_loads_nothing_heavy():
    code = f"import sys, dae_export, dae_export.cli; print([name for name in {HEAVY} if name in sys.modules])"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "[]"
