"""Continuous integration has the programs that packages bring, so that none of these tests is skipped there."""

from __future__ import annotations

import importlib.util
import os
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

from hosts.conftest import newer_python

EXTRA = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"][
    "hosts"
]


@pytest.mark.skipif(os.environ.get("CI") != "true", reason="no continuous integration")
@pytest.mark.parametrize("package", [requirement.partition(">")[0].partition("[")[0] for requirement in EXTRA])
def test_a_package_of_the_extra_is_installed(package: str) -> None:
    assert version(package)


@pytest.mark.skipif(os.environ.get("CI") != "true", reason="no continuous integration")
def test_there_is_a_python_for_vapoursynth() -> None:
    assert newer_python() is not None
    assert importlib.util.find_spec("openvino") is not None
