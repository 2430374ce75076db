"""Models that blur, and the examples as programs of their own."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from builders import make_model

EXAMPLES = Path(__file__).parents[2] / "examples"


def _model(channels: int) -> bytes:
    """A model of 8-bit pixels that blurs; its sides must be multiples of 4."""
    return make_model(channels=channels, io_dtype="uint8", alignment=4, name="blur")


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gray model of 8-bit pixels."""
    path = tmp_path_factory.mktemp("model") / "blur.onnx"
    path.write_bytes(_model(1))
    return path


@pytest.fixture(scope="session")
def color_model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A color model of 8-bit pixels."""
    path = tmp_path_factory.mktemp("model") / "color.onnx"
    path.write_bytes(_model(3))
    return path


@pytest.fixture(scope="session")
def load_example() -> Callable[[str], ModuleType]:
    """Import an example as a module."""

    def load(name: str) -> ModuleType:
        specification = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
        assert specification is not None
        assert specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        sys.modules[module.__name__] = module  # dataclasses look their module up
        specification.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def run_example() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run an example to its end as a program."""

    def run(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, EXAMPLES / f"{name}.py", *arguments]
        return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=120, check=False)

    return run
