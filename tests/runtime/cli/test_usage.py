"""What `dae-run` refuses, and the commands beside denoising: exit codes and words."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest

from builders import invoke
from dae_runtime import Denoiser, __version__
from dae_runtime.cli.command import command
from dae_runtime.contract import Golden, from_json


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "IN and OUT"),
        (("only-in",), "IN and OUT"),
        (("-m", "{model}", "no-such-input", "{out}"), "does not exist"),
        (("-m", "{model}", "{in}", "{in}/sub"), "inside the input"),
        (("-m", "{model}", "{in}", "{out}", "--device", "tpu"), "auto, cpu, cuda"),
        (("-m", "{model}", "{in}", "{out}", "--threads", "0"), "--threads"),
        (("-m", "{model}", "{in}", "{out}", "-b", "0"), "--batch-size"),
        (("-m", "{model}", "{in}", "{out}", "--format", "gif"), "gif"),
        (("-m", "{model}", "{in}", "{out}", "--reference", "none"), "reference none"),
        (("-m", "{model}", "{in}", "{out}", "--self-test"), "exclude each other"),
        (("--contract", "{model}", "--doctor"), "exclude each other"),
        (("--no-such-option",), "no-such-option"),
        (("-m", "{model}", "{in}/0.png", "{out}.xyz"), "out.xyz is neither an image file"),
        (("-m", "{model}", "{in}", "{out}.png"), "give {out}.png/"),
        (("-m", "{model}", "{in}", "{out}", "--max-memory-mb", "1"), "64<=x"),
        (("-m", "{model}", "{in}", "{out}", "--report", "{in}"), "is a folder"),
    ],
)
def test_wrong_usage_is_exit_code_2(tmp_path, images, blur_file, arguments, words):
    names = {"in": images, "out": tmp_path / "out", "model": blur_file}
    result = invoke(command, *(argument.format(**names) for argument in arguments))
    assert result.exit_code == 2, result.output
    assert words.format(**names) in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.glob("out*"))


def test_the_contract_is_printed_as_json(blur_file):
    result = invoke(command, "--contract", blur_file)
    assert result.exit_code == 0
    contract = from_json(result.stdout)
    with Denoiser(blur_file, "cpu") as denoiser:
        assert contract == denoiser.model
    assert from_json(invoke(command, "--contract", "photo").stdout).sigma is not None
    missing = invoke(command, "--contract", "no-such-model")
    assert missing.exit_code != 0


@pytest.mark.slow
def test_a_file_whose_name_begins_with_a_dash(tmp_path, images, blur_file, dae_run):
    shutil.copy(images / "0.png", tmp_path / "-dash.png")
    taken_for_options = dae_run("-m", blur_file, "-dash.png", "out.png", cwd=tmp_path)
    assert taken_for_options.returncode == 2
    assert "./-dash.png" in taken_for_options.stderr
    assert dae_run("-m", blur_file, "./-dash.png", "out.png", cwd=tmp_path).returncode == 0


def test_a_failure_is_exit_code_1_in_one_line(tmp_path, images, dae_run):
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"junk" * 50)
    for model in (damaged, "no-such-model"):
        result = dae_run("-m", model, images, tmp_path / "out")
        assert result.returncode == 1
        assert result.stderr.startswith("error: ")
        assert len(result.stderr.splitlines()) == 1


@pytest.mark.slow
def test_self_test(tmp_path, make_model, blur_file, dae_run):
    result = dae_run("--self-test", "-m", blur_file)
    assert result.returncode == 0
    assert "passed" in result.stdout
    zeros = bytes(4 * 16)
    wrong = Golden((1, 4, 4, 1), zeros, np.ones(16, np.float32).tobytes(), 1e-5)
    (tmp_path / "wrong.onnx").write_bytes(make_model(golden=wrong))
    result = dae_run("--self-test", "-m", tmp_path / "wrong.onnx")
    assert result.returncode == 1
    assert "largest error 1 (allowed 1e-05)" in result.stdout


@pytest.mark.slow
def test_the_other_actions(dae_run):
    assert dae_run("--version").stdout.strip().endswith(__version__)
    assert "Exit codes" in dae_run("--help").stdout
    models = dae_run("--list-models")
    assert models.returncode == 0
    assert models.stdout
    doctor = dae_run("--doctor")
    assert "onnxruntime" in doctor.stdout
    assert "libvips" in doctor.stdout
    assert "threads" in doctor.stdout
    assert (doctor.returncode == 0) == ("no problems found" in doctor.stdout)


def test_bundled_models_are_listed(tmp_path, make_model, monkeypatch, capsys):
    from dae_runtime.cli import actions
    from dae_runtime.models import bundled as models

    monkeypatch.setattr(models, "MODEL_FOLDER", tmp_path)
    assert actions.list_models() == 0
    assert "no models" in capsys.readouterr().out
    (tmp_path / "tiny.onnx").write_bytes(make_model())
    (tmp_path / "whole.onnx").write_bytes(make_model(noise="none"))
    assert actions.list_models() == 0
    assert re.match(r"tiny .*gray, fp32, noise gaussian:0\.1.*\nwhole .*, pairs of images", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("{in}", "{out}", "--strength", "1.5"), "0<=x<=1"),
        (("{in}", "{out}", "--watch", "--resume"), "--resume cannot be used with --watch"),
        (("{in}/0.png", "{out}", "--watch"), "not a folder"),
        (("-", "-", "--resume"), "--resume cannot be used with standard input or output"),
        (("-", "{out}"), "needs an image file as output (.png, "),
        (("-", "{in}"), "needs an image file as output (.png, "),
        (("-", "{out}.png", "--format", "tif"), "leave it out"),
        (("-", "-", "--format", "gif"), "'gif'"),
        (("{in}", "-"), "takes one image, but {in} is a folder"),
        (("{in}/*.png", "-"), "is no file"),
        (("--raw", "10", "-", "-"), "1920x1080x3"),
        (("--raw", "10x10", "-", "-", "--watch"), "--watch cannot be used with --raw"),
        (("--raw", "10x10", "{in}/0.png", "{out}", "--recursive"), "--recursive cannot be used with --raw"),
    ],
)
def test_wrong_usage_of_streams_and_folders(tmp_path, images, blur_file, arguments, words):
    names = {"in": images, "out": tmp_path / "out"}
    result = invoke(command, "-m", blur_file, *(argument.format(**names) for argument in arguments))
    assert result.exit_code == 2, result.output
    assert words.format(**names) in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.glob("out*"))


# Root may write everywhere; without its capabilities it gets permission errors (capset(2), version 3).
POWERLESS = """
import ctypes
ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())
from dae_runtime.cli import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("extra", [(), ("--dry-run",), ("--watch",)])
@pytest.mark.parametrize("output", ["locked", "locked/new"])
def test_a_folder_that_cannot_be_written_is_one_error(tmp_path, images, blur_file, run_python, output, extra):
    (tmp_path / "locked").mkdir()
    (tmp_path / "locked").chmod(0o555)
    result = run_python("-c", POWERLESS, "-m", blur_file, images, tmp_path / output, *extra)
    (tmp_path / "locked").chmod(0o755)
    assert result.returncode == 1
    assert re.fullmatch(r"error: the folder .* cannot be .*Permission denied.*\n", result.stderr)


def test_references_without_a_match_are_refused(tmp_path, images, blur_file):
    (tmp_path / "clean").mkdir()
    result = invoke(command, "-m", blur_file, images, tmp_path / "out", "--reference", tmp_path / "clean")
    assert result.exit_code == 2
    assert "holds no image with the name of an input, e.g. 0.png" in result.stderr
    assert not (tmp_path / "out").exists()


def test_mistakes_in_options_are_usage_errors(tmp_path, images, blur_file):
    for wrong in (("--suffix", "/../evil"), ("--strength", "nan")):
        done = invoke(command, "-m", blur_file, images, tmp_path / "out", *wrong)
        assert done.exit_code == 2, done.output
        assert "Traceback" not in done.stderr
