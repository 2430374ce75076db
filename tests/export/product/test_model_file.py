"""docs/model-file.md and dae_runtime.contract agree."""

from __future__ import annotations

import dataclasses
import re
import typing
from pathlib import Path

import pytest

from dae_runtime.contract import (
    CALIBRATION_METHODS,
    FORMAT_NAME,
    FORMAT_VERSION,
    INPUT_NAME,
    IO_DTYPES,
    LAYOUTS,
    METADATA_KEY,
    OUTPUT_NAME,
    PRECISIONS,
    SIGMA_FORMS,
    Calibration,
    Contract,
    Golden,
    Parity,
    Quality,
    SigmaInput,
)

TEXT = (Path(__file__).parents[3] / "docs" / "model-file.md").read_text("utf-8")


def documented_fields(section: str) -> dict[str, str]:
    """Return the rows of a section's table: the type and the meaning in one text, by field name."""
    body = re.search(rf"^### {section}\n(.*?)(?=^##)", TEXT, re.DOTALL | re.MULTILINE)
    assert body, f"no section {section}"
    return dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", body[1], re.MULTILINE))


@pytest.mark.parametrize("kind", [Contract, Parity, Golden, SigmaInput, Calibration, Quality])
def test_every_field_is_documented_in_order(kind):
    expected = [field.name for field in dataclasses.fields(kind)]
    if kind is Contract:
        expected = ["format", "version", *expected]
    assert list(documented_fields(kind.__name__)) == expected


def test_optional_and_null_fields_are_marked():
    fields = documented_fields("Contract")
    hints = typing.get_type_hints(Contract)
    for field in dataclasses.fields(Contract):
        has_default = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        assert has_default == ("Optional." in fields[field.name]), field.name
        assert (type(None) in typing.get_args(hints[field.name])) == ("or null |" in fields[field.name]), field.name


def test_every_constant_is_documented():
    fields = documented_fields("Contract")
    for name, values in {
        "format": [FORMAT_NAME],
        "io_dtype": IO_DTYPES,
        "precision": PRECISIONS,
        "layout": LAYOUTS,
    }.items():
        assert all(f"`{value}`" in fields[name] for value in values), name
    assert str(FORMAT_VERSION) in fields["version"]
    assert all(f"`{form}`" in documented_fields("SigmaInput")["form"] for form in SIGMA_FORMS)
    assert all(f"`{value}`" in documented_fields("Calibration")["method"] for value in CALIBRATION_METHODS)
    assert all(f"`{value}`" in TEXT for value in (METADATA_KEY, INPUT_NAME, OUTPUT_NAME))
