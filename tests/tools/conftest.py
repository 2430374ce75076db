"""The makers' tools import all three packages, so their tests use fixtures of more than one."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from dae_tools.export_bench import comparison


@pytest.fixture(scope="session", autouse=True)
def _peers_once() -> Iterator[None]:
    """Quantize the published networks once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "_peers", functools.cache(comparison._peers))
        yield


def _conftest(package: str) -> ModuleType:
    path = Path(__file__).parents[1] / package / "conftest.py"
    spec = importlib.util.spec_from_file_location(f"conftest_of_{package}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_runtime, _export = _conftest("runtime"), _conftest("export")
blur, blur_file, identity, run_python = _runtime.blur, _runtime.blur_file, _runtime.identity, _runtime.run_python
_short_timings = _export._short_timings
keras, make_v2, blur_denoiser, make_contract_file = (
    _export.keras,
    _export.make_v2,
    _export.blur_denoiser,
    _export.make_contract_file,
)
