"""The command as a user meets it: a process, its output, its exit code."""

from __future__ import annotations

import re

import pytest

import dae_export.cli
from dae_runtime import __version__
from dae_runtime.engine.session import open_session, read_contract


@pytest.fixture(scope="module")
def run(tmp_path_factory, make_run):
    return make_run(tmp_path_factory.mktemp("run") / "digits")


def test_the_whole_command(run, dae_export, tmp_path):
    finished = dae_export(run, "--quantize", "--max-psnr-drop", 1, "-o", "small.onnx", cwd=tmp_path)
    assert finished.stderr == ""
    assert finished.returncode == 0
    wrote, parity, form, psnr, integer, *rest = finished.stdout.splitlines()
    assert "small.onnx" in wrote
    assert "int8" in wrote
    assert "1e-05 allowed" in parity
    assert form.startswith("form     ")
    assert " ms for 512 x 512 here (" in form
    assert re.fullmatch(r"INT8     \d+\.\d% of the arithmetic is in integers", integer)
    assert "fp32" in psnr
    assert "INT8" in psnr
    assert rest[-1] == "next     dae-run -m small.onnx IN OUT"
    assert [path.name for path in tmp_path.iterdir()] == ["small.onnx"]
    assert read_contract(open_session(tmp_path / "small.onnx"), "file").precision == "int8"


def test_quiet_prints_nothing_and_a_refusal_is_one_line(run, dae_export):
    first = dae_export(run, "-q", KERAS_BACKEND="jax")  # meant for the training: the export uses TensorFlow all the same
    assert (first.returncode, first.stdout, first.stderr) == (0, "", "")
    assert (run / "v2.onnx").exists()
    second = dae_export(run)
    assert second.returncode == 1
    assert second.stdout == ""
    assert second.stderr.startswith("error: ")
    assert second.stderr.count("\n") == 1
    assert "--overwrite" in second.stderr


def test_a_damaged_model_is_one_line_too(dae_export, tmp_path):
    (tmp_path / "damaged.keras").write_bytes(b"nothing")
    finished = dae_export(tmp_path / "damaged.keras")
    assert finished.returncode == 1
    assert finished.stderr.count("\n") == 1
    assert "not a zip archive" in finished.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["damaged.keras"]


def test_usage(dae_export, tmp_path):
    assert f"dae-export, version {__version__}" in dae_export("--version").stdout
    text = dae_export("--help").stdout
    for parameter in dae_export_options():
        assert parameter in text
    for arguments in ([], ["missing"], [tmp_path, "--opset", "12"], [tmp_path, "--atol", "0"], [tmp_path, "--wrong"]):
        assert dae_export(*arguments).returncode == 2, arguments


def test_a_wrong_combination_is_a_usage_error_that_names_the_flags(dae_export, tmp_path):
    for arguments, words in (
        (["--min-speedup", "2"], "--min-speedup must be left out without --quantize"),
        (["--quantize", "--dtype", "fp16"], "--dtype must be fp32 together with --quantize"),
        (["--max-psnr-drop", "nan"], "--max-psnr-drop must be a number of dB"),
    ):
        finished = dae_export(tmp_path, *arguments)
        assert finished.returncode == 2
        assert words in finished.stderr


def dae_export_options() -> list[str]:
    return [name for parameter in dae_export.cli.command.params for name in parameter.opts if name.startswith("--")]
