from __future__ import annotations

import json
from pathlib import Path

import pytest

HEAVY = ("tensorflow", "keras", "onnx", "tf2onnx", "jax", "matplotlib", "onnxruntime", "pyvips")


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        ("import dae_runtime", set()),
        ("from dae_runtime import *; FolderRequest('in', 'out')", set()),
        ("import dae_runtime.cli, dae_runtime.jobs.plan, dae_runtime.jobs.run, dae_runtime.pixels.metrics", set()),
        ("from dae_runtime import Denoiser; Denoiser({model!r}).denoise([[0]] and __import__('numpy').ones((8, 8), 'f'))",
         {"onnxruntime"}),
    ],
)  # fmt: skip
def test_what_importing_and_using_the_package_loads(code: str, allowed: set[str], blur_file: Path, run_python):
    report = f"\nimport sys, json; print(json.dumps([n for n in {HEAVY} if n in sys.modules]))"
    result = run_python("-c", code.format(model=str(blur_file)) + report)
    assert result.returncode == 0, result.stderr
    assert set(json.loads(result.stdout)) == allowed


def test_importing_the_package_does_not_load_numpy(run_python):
    assert (
        run_python(
            "-c", "import dae_runtime, sys; dae_runtime.FolderRequest('in', 'out'); sys.exit('numpy' in sys.modules)"
        ).returncode
        == 0
    )
