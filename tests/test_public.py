"""What programs may use: the names and signatures that the packages offer."""

from __future__ import annotations

import importlib
import tomllib
from pathlib import Path

import pytest

from dae_runtime import __version__
from dae_tools.public_names import PACKAGES, public_names


def test_the_public_names_and_signatures_are_those_of_the_file() -> None:
    recorded = (Path(__file__).parent / "public.txt").read_text("utf-8")
    assert public_names() + "\n" == recorded, "if this is meant: python -m dae_tools.public_names > tests/public.txt"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_has_no_other_names(package: str) -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = importlib.import_module(package).no_such_name


def test_the_distribution_has_the_version_of_the_package() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["version"] == __version__
