"""Outputs of another model are refused with the names that people know both by."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from builders import IDENTITY, invoke, make_model, random_pixels
from dae_runtime.cli.command import command
from dae_runtime.images import Image, write_image


@pytest.mark.parametrize(
    ("first", "second", "names"),
    [
        ("default", "gray", "the default models instead of gray"),
        ("gray", "default", "gray instead of the default models"),
        ("gray", "digits", "gray instead of digits"),
        ("default", "mine.onnx", r"the default models instead of mine\.onnx"),
        ("mine.onnx", "gray", r"one with the SHA-256 [0-9a-f]{12}\.\.\. instead of gray"),
        ("mine.onnx", "other.onnx", r"one with the SHA-256 [0-9a-f]{12}\.\.\. instead of other\.onnx"),
    ],
)
def test_both_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str, second: str, names: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.onnx").write_bytes(make_model())
    Path("other.onnx").write_bytes(make_model(IDENTITY))
    Path("in").mkdir()
    write_image("in/a.png", Image(random_pixels((12, 10))))
    flags = {name: () if name == "default" else ("-m", name) for name in (first, second)}
    assert invoke(command, "in", "out", *flags[first]).exit_code == 0
    refused = invoke(command, "in", "out", *flags[second])
    assert refused.exit_code == 1
    text = str(refused.exception)
    assert re.match(rf"1 output of the run before was made with another model, {names}: out/a\.png\. ", text), text
    assert "--overwrite" in text
