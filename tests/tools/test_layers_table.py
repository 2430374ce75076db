"""The table of docs/layers.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from dae_tools.layers.cases import all_cases
from dae_tools.layers.table import measure, table, unlisted

pytestmark = pytest.mark.slow
TEXT = (Path(__file__).parents[2] / "docs" / "layers.md").read_text("utf-8")


def test_the_table_in_the_documentation_is_what_the_export_does():
    made = table()
    missing = [line for line in made.splitlines() if line not in TEXT]
    assert made in TEXT, f"if this is meant: put the output of python -m dae_tools.layers into docs/layers.md\n{missing}"


def test_every_layer_and_activation_of_keras_is_in_the_table_or_not_for_images():
    assert unlisted() == []


def test_a_row_says_what_stays_in_float():
    cases = {case.name: case for case in all_cases()}
    assert measure(cases["mish"]).cells()[-1] == "float: Softplus, Tanh"
    assert measure(cases["Conv2D padding=valid"]).refusal.startswith("the model: expected a model that keeps the shape")
