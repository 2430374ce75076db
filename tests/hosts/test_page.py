"""docs/hosts.md describes every program and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dae_export.options import PROGRAMS
from dae_export.product.programs.demands import DEMANDS

PAGE = (Path(__file__).parents[2] / "docs" / "hosts.md").read_text("utf-8")
FORMS = {
    "map": "second input, a map",
    "plane": "a second clip",
    "value": "input `sigma`, N x 1",
    None: "built in with `--sigma`",
}


def test_every_program_has_a_row_and_a_section() -> None:
    rows = dict(re.findall(r"^\| \[(\w+)\]\(#(?:\w+)\) \|.*?\|.*?\| (.*?) \|", PAGE, re.MULTILINE))
    assert list(rows) == list(PROGRAMS)
    assert {name: FORMS[demands.sigma] for name, demands in DEMANDS.items()} == rows
    sections = [title.lower() for title in re.findall(r"^## (.*)$", PAGE, re.MULTILINE)]
    assert set(PROGRAMS) <= set(sections)


@pytest.mark.parametrize("command", re.findall(r"dae-export (?:[\w./]+) --for (\w+)", PAGE))
def test_every_command_names_a_program(command: str) -> None:
    assert command in PROGRAMS
