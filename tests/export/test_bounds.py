"""Every option has a type and a bound: whatever the value, the options are made or an InputError says what is wrong."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from any_value import anything
from builders import invoke
from dae_export import ExportOptions
from dae_export.cli import command
from dae_runtime import InputError


@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from([field.name for field in dataclasses.fields(ExportOptions)]), value=anything)
def test_any_value_of_any_option_is_taken_or_an_input_error(name: str, value: Any) -> None:
    try:
        options = ExportOptions(**{"quantize": True, name: value})
    except InputError as error:
        assert len(str(error)) < 1000  # noqa: PT017 - any of the two outcomes is right
    else:
        kept = getattr(options, name)
        assert not isinstance(kept, float) or math.isfinite(kept)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1", "1e400", "x"])
@pytest.mark.parametrize("option", ["--max-psnr-drop", "--max-color-shift", "--min-speedup", "--atol", "--opset"])
def test_a_number_beyond_its_bound_is_wrong_usage(tmp_path, option, value):
    result = invoke(command, tmp_path, "--quantize", f"{option}={value}")
    assert result.exit_code == 2, result.output
    assert option in result.stderr
