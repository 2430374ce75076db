"""The command as a process: output and exit code."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dae_export.cli
from builders import invoke
from dae_export import pipeline
from dae_export.cli import command
from dae_runtime import __version__
from dae_runtime.engine.session import open_session, read_contract

UNTRAINED = ("--min-psnr-gain", -100)
"""The networks are not trained."""


@pytest.fixture(scope="module")
def run(tmp_path_factory, make_run):
    return make_run(tmp_path_factory.mktemp("run") / "digits")


@pytest.mark.slow
def test_the_whole_command(run, dae_export, tmp_path):
    finished = dae_export(run, "--quantize", "--max-psnr-drop", 1, *UNTRAINED, "-o", "small.onnx", cwd=tmp_path)
    assert finished.returncode == 0
    wrote, parity, form, speed, psnr, integer, *rest = finished.stdout.splitlines()
    measured = re.fullmatch(r"speed    (\d+\.\d\d) times that of the float32 file", speed)
    assert measured is not None
    *stages, last = finished.stderr.splitlines()
    warned = last.startswith("INT8 is SLOWER")  # depends on the processor, and on its load
    stages += [] if warned else [last]
    assert [re.sub(r"\d+", "N", stage) for stage in stages] == [
        "loading TensorFlow, and converting the network ...",
        "timing N forms of the network on this machine ...",
        "rounding the weights, and measuring the values that they meet in N images ...",
        "measuring what INTN loses ...",
        "timing N forms of the network on this machine ...",
    ]
    assert float(measured[1]) <= 1 if warned else float(measured[1]) >= 1
    assert "small.onnx" in wrote
    assert "int8" in wrote
    assert "1e-05 allowed" in parity
    assert form.startswith("form     ")
    assert " ms for 512 x 512 here (" in form
    assert re.fullmatch(r"INT8     \d+\.\d% of the arithmetic is in integers, exact on every processor", integer)
    assert "fp32" in psnr
    assert "INT8" in psnr
    assert rest[-1] == "next     dae-run -m small.onnx IN OUT"
    assert [path.name for path in tmp_path.iterdir()] == ["small.onnx"]
    assert read_contract(open_session(tmp_path / "small.onnx"), "file").precision == "int8"


@pytest.mark.slow
def test_quiet_prints_nothing_and_a_refusal_is_one_line(run, dae_export):
    first = dae_export(
        run, "-q", *UNTRAINED, KERAS_BACKEND="jax"
    )  # meant for the training: the export uses TensorFlow all the same
    assert (first.returncode, first.stdout, first.stderr) == (0, "", "")
    assert (run / "v2.onnx").exists()
    second = dae_export(run)
    assert second.returncode == 1
    assert second.stdout == ""
    assert second.stderr.startswith("error: ")
    assert second.stderr.count("\n") == 1
    assert "--overwrite" in second.stderr


@pytest.mark.slow
def test_a_damaged_model_is_one_line_too(dae_export, tmp_path):
    (tmp_path / "damaged.keras").write_bytes(b"nothing")
    finished = dae_export(tmp_path / "damaged.keras")
    assert finished.returncode == 1
    assert finished.stderr.count("\n") == 2  # and what was done before
    assert "not a zip archive" in finished.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["damaged.keras"]


def test_usage(dae_export, tmp_path):
    assert f"dae-export, version {__version__}" in dae_export("--version").stdout
    text = invoke(command, "--help").stdout
    for parameter in dae_export_options():
        assert parameter in text
    for arguments in ([], ["missing"], [tmp_path, "--opset", "12"], [tmp_path, "--atol", "0"], [tmp_path, "--wrong"]):
        assert invoke(command, *arguments).exit_code == 2, arguments


def test_a_wrong_combination_is_a_usage_error_that_names_the_flags(tmp_path):
    for arguments, words in (
        (["--min-speedup", "2"], "--min-speedup must be omitted without --quantize"),
        (["--quantize", "--dtype", "fp16"], "--dtype must be fp32 together with --quantize"),
        (["--max-psnr-drop", "nan"], "--max-psnr-drop must be a finite number"),
    ):
        finished = invoke(command, tmp_path, *arguments)
        assert finished.exit_code == 2
        assert words in finished.stderr


def dae_export_options() -> list[str]:
    return [name for parameter in command.params for name in parameter.opts if name.startswith("--")]


@pytest.mark.slow
def test_an_old_file_is_checked_and_converted(dae_export, tmp_path, pictures):
    old = Path(__file__).parents[1] / "data/color-version-1.onnx"
    found = dae_export(old, "--check")
    assert found.returncode == 1
    assert "19 of 19 integer layers" in found.stdout
    assert "conv_12 (Conv): neighbors sum to 249" in found.stdout.splitlines()[1]
    refused = dae_export(old, "-o", tmp_path / "new.onnx")
    assert refused.returncode == 1
    assert "--calibration-data" in refused.stderr
    noisy, clean = pictures(8, 64, 3)
    np.savez(tmp_path / "samples.npz", noisy=noisy, clean=clean)
    done = dae_export(old, "--calibration-data", tmp_path / "samples.npz", "--max-psnr-drop", 1, "-o", tmp_path / "new.onnx")
    assert done.returncode == 0, done.stderr
    assert "exact on every processor" in done.stdout
    rounding, measuring, *_ = [line for line in done.stderr.splitlines() if "this older INT8 file" not in line]
    assert re.fullmatch(r"rounding the weights with \d+ images \.\.\.", rounding)
    assert measuring == "measuring what that changes ..."
    assert dae_export(tmp_path / "new.onnx", "--check").returncode == 0
    contract = read_contract(open_session(tmp_path / "new.onnx"), "new")
    assert (contract.name, contract.pair_limit, contract.any_size) == ("color", 128, True)
    again = dae_export(old, "--calibration-data", tmp_path / "samples.npz", "-o", tmp_path / "new.onnx")
    assert again.returncode == 1
    assert "already exists" in again.stderr


def test_layers_that_need_kernels_of_their_own_export_on_every_processor(dae_export, keras, tmp_path):
    """TensorFlow has kernels for channels that come first only with oneDNN, which it leaves out on many processors."""
    image = keras.Input((None, None, 1))
    x = keras.layers.Permute((3, 1, 2))(image)
    x = keras.layers.Conv2D(8, 3, padding="same", data_format="channels_first")(x)
    x = keras.layers.Conv2D(1, 3, padding="same")(keras.layers.Permute((2, 3, 1))(x))
    keras.Model(image, x).save(tmp_path / "first.keras")
    done = dae_export(tmp_path / "first.keras", "-o", tmp_path / "a.onnx", TF_ENABLE_ONEDNN_OPTS="1")
    assert done.returncode == 0, done.stderr
    without = dae_export(tmp_path / "first.keras", "-o", tmp_path / "b.onnx", TF_ENABLE_ONEDNN_OPTS="0")
    assert "Traceback" not in without.stderr
    assert without.returncode == 0 or "before TensorFlow is imported, or give the layers data_format=" in without.stderr


def test_the_arguments_are_checked_once_and_before_tensorflow_is_loaded(run, tmp_path, monkeypatch):
    steps: list[str] = []
    for module, name in (
        (pipeline, "find_source"),
        (dae_export.cli, "_load_tensorflow"),
        (pipeline, "load"),
    ):
        monkeypatch.setattr(module, name, partial(_noted, steps, name, getattr(module, name)))
    finished = invoke(command, run, "--no-rewrite", *UNTRAINED, "-o", tmp_path / "m.onnx")
    assert finished.exit_code == 0, finished.output
    assert steps == ["find_source", "_load_tensorflow", "load"]


def _noted(steps: list[str], name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    steps.append(name)
    return function(*arguments)
