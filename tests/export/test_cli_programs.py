"""`dae-export --for`: what it writes and prints, and what it refuses."""

from __future__ import annotations

import json

import pytest

from builders import invoke
from dae_export.cli import command
from dae_runtime.contract import from_json
from dae_runtime.models import bundled_models

UNTRAINED = ("--min-psnr-gain", -100)


def test_a_bundled_model_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    finished = invoke(command, "photo", "--for", "darktable", "--sigma", 8, "--sidecar")
    assert finished.exit_code == 0, finished.output
    wrote, parity = finished.stdout.splitlines()
    assert wrote.startswith("wrote    denoise-photo.dtmodel (")
    assert wrote.endswith("fp32, NCHW, any size, RGB, for darktable)")
    assert parity.endswith("dB between the two")
    assert from_json((tmp_path / "denoise-photo.json").read_text("utf-8")).layout == "NCHW"
    *_, level, given = invoke(command, "photo", "--for", "darktable", "-o", tmp_path / "d.dtmodel").stdout.splitlines()
    assert level.startswith("level    input sigma, N x 1 x H x W")
    assert given == "         darktable gives 25 of 255 for every image; --sigma S builds another level in"
    assert "level    last channel of noisy" in invoke(command, "photo", "--for", "vapoursynth", "--dtype", "fp16").stdout
    (tmp_path / "photo").mkdir()  # not a run directory, so the bundled model is meant
    assert invoke(command, "photo", "--for", "triton", "-o", tmp_path).exit_code == 0
    assert (tmp_path / "photo" / "config.pbtxt").is_file()


def test_all_bundled_models_by_one_command(tmp_path, monkeypatch):
    small = {name: path for name, path in bundled_models().items() if name in ("gray-25", "photo")}
    monkeypatch.setattr("dae_export.cli.bundled_models", lambda: small)
    monkeypatch.setattr("dae_export.cli.describe_models", _described(small))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "made" / "models"
    finished = invoke(command, "all", "--for", "ffmpeg", "--quantize", "-o", folder)
    assert finished.exit_code == 1
    assert "photo takes the noise level" in finished.stderr
    assert [path.name for path in folder.iterdir()] == ["gray-25-ffmpeg-int8.onnx"]
    finished = invoke(command, "all", "--for", "ffmpeg", "--quantize", "-o", folder, "--sigma", 8, "--overwrite")
    assert finished.exit_code == 0, finished.output  # the level is for those that take one
    assert sorted(path.name for path in folder.iterdir()) == ["gray-25-ffmpeg-int8.onnx", "photo-ffmpeg-int8.onnx"]


def _described(small):
    from dae_runtime.models import describe_models

    return lambda: [model for model in describe_models() if model.name in small]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        *(((name,), f"{name} is a bundled model, an .onnx file already: dae-run -m {name}") for name in bundled_models()),
        (("photo", "-o", "p.onnx"), "Give a run directory of dae-train or a .keras file, or --for PROGRAM"),
        (("no-such-model", "--for", "plain"), "does not exist"),
        (("photo", "--for", "gimp"), "darktable"),
        (("all", "--for", "plain", "--name", "x"), "all writes many files"),
        (("all", "--for", "plain", "-o", "one.onnx"), "all writes many files"),
        (("gray", "--for", "plain", "--check"), "exclude each other"),
        (("{run}", "--sigma", "5"), "--sigma is for --for"),
        (("photo", "--for", "plain", "--sigma", "0"), "--sigma"),
    ],
)
def test_wrong_usage(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    finished = invoke(command, *(argument.format(run=tmp_path) for argument in arguments))
    assert finished.exit_code == 2
    assert words in finished.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("program", ["plain", "darktable", "triton"])
def test_a_name_is_no_path(program, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    finished = invoke(command, "photo", "--for", program, "--name", "../evil")
    assert "'../evil' is a path" in str(finished.exception)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_run_directory(run, dae_export, tmp_path):
    finished = dae_export(run, "--for", "triton", "--dtype", "fp16", "--max-psnr-drop", 1, *UNTRAINED, "-o", tmp_path / "m")
    assert finished.returncode == 0, finished.stderr
    assert "fp16, NCHW, any size, gray, for triton" in finished.stdout
    assert (tmp_path / "m" / "1" / "model.onnx").is_file()
    finished = dae_export(run, "--sidecar", *UNTRAINED, "-o", tmp_path / "usual.onnx")
    assert finished.returncode == 0, finished.stderr
    assert json.loads((tmp_path / "usual.json").read_text("utf-8"))["version"] == 3
    again = dae_export(run, "--sidecar", *UNTRAINED, "-o", tmp_path / "usual.onnx")
    assert "already exists" in again.stderr
