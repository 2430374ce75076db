from __future__ import annotations

import re

import numpy as np
import pytest

from builders import invoke
from dae_runtime.cli.command import command
from dae_runtime.contract import Golden
from dae_runtime.diagnosis import doctor
from dae_runtime.engine import packages as engine_packages
from dae_runtime.system.processor import int8_advice


def write_cpuinfo(root, flags):
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc/cpuinfo").write_text(f"model name : X\nflags : {flags}\n")


def install(folder, name, version):
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


@pytest.mark.parametrize(
    ("flags", "level", "name"),
    [
        ("fpu avx2 avx512_vnni amx_int8", "fast", "AMX"),
        ("avx2 avx_vnni", "fast", "VNNI"),
        ("fp asimd asimddp", "fast", "dot product"),
        ("fp asimd asimddp i8mm", "fast", "matrix"),
        ("fpu sse2 avx2", "good", "about half the time"),
        ("fp asimd", "slow", "dot product"),
        ("", "unknown", "time"),
    ],
)
def test_what_the_processor_means_for_int8(tmp_path, flags, level, name):
    write_cpuinfo(tmp_path, flags)
    received, text = int8_advice(tmp_path)
    assert received == level
    assert name in text


def test_a_processor_without_integer_products_gets_advice(tmp_path):
    write_cpuinfo(tmp_path, "fp asimd")
    assert any("float32" in text for text in doctor.examine(tmp_path).advice)
    write_cpuinfo(tmp_path, "fpu avx2")
    assert not any("float32" in text for text in doctor.examine(tmp_path).advice)


def test_the_facts_that_a_bug_report_needs(dae_run):
    result = dae_run("--doctor")
    for name in (
        "edge-denoiser",
        "python",
        "numpy",
        "processor",
        "int8",
        "int8 sums",
        "self-test",
        "threads",
        "images",
        "camera raw",
        "onnxruntime",
        "devices",
        "cuda",
    ):
        assert re.search(rf"^{name} +\S", result.stdout, re.MULTILINE), result.stdout
    assert result.returncode == ("problem:" in result.stdout)


@pytest.mark.parametrize("second", ["onnxruntime-gpu", "onnxruntime-openvino"])
def test_two_engine_packages_at_once_are_a_problem(tmp_path, run_python, second):
    for name in ("onnxruntime", second):
        install(tmp_path, name, "1.2.3")
    code = "import sys; sys.path.insert(0, sys.argv[1]); from dae_runtime.cli import main; sys.argv[1:] = ['--doctor']; main()"
    result = run_python("-c", code, tmp_path)
    assert result.returncode == 1
    assert re.search(
        rf"problem: onnxruntime and {second} are both installed.*pip uninstall onnxruntime {second}", result.stdout
    )


def test_files_of_another_version_are_a_problem(tmp_path, run_python):
    install(tmp_path, "onnxruntime", "1.2.3")
    code = "import sys; sys.path.insert(0, sys.argv[1]); from dae_runtime.cli import main; sys.argv[1:] = ['--doctor']; main()"
    result = run_python("-c", code, tmp_path)
    assert re.search(r"problem: onnxruntime 1\.2\.3 is installed, but its files are of version", result.stdout)
    assert "--force-reinstall" in result.stdout


def test_versions_that_agree_are_no_problem(monkeypatch):
    monkeypatch.setattr(engine_packages, "installed_engines", lambda: {"onnxruntime": "1.2.3"})
    assert engine_packages.version_mismatch("1.2.3") is None
    assert engine_packages.version_mismatch("1.2.4") is not None


@pytest.mark.parametrize("module", ["onnxruntime", "pyvips"])
def test_what_cannot_be_loaded_is_a_problem_with_its_remedy(run_python, module):
    code = f"import sys; sys.modules[{module!r}] = None; from dae_runtime.cli import main; sys.argv[1:] = ['--doctor']; main()"
    result = run_python("-c", code)
    assert result.returncode == 1
    assert re.search(r"problem: .*pip install", result.stdout)
    assert result.stderr == ""


def _wrong(make_model):
    return make_model(golden=Golden((1, 4, 4, 1), bytes(64), np.ones(16, np.float32).tobytes(), 1e-5))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (_wrong, "fails its self-test: largest error 1"),
        (lambda make_model: make_model(kernel=np.full((3, 3), np.nan)), "cannot be run: the model returned"),
        (lambda make_model: make_model()[:200], "cannot be run"),
        (lambda make_model: b"", "cannot be run"),
        (lambda make_model: make_model(metadata=""), "cannot be run"),
    ],
    ids=["another output", "nan", "cut off", "empty", "no contract"],
)
def test_a_bundled_model_that_fails_is_a_problem(tmp_path, monkeypatch, make_model, build, words):
    (tmp_path / "sound.onnx").write_bytes(make_model())
    (tmp_path / "bad.onnx").write_bytes(build(make_model))
    models = {name: tmp_path / f"{name}.onnx" for name in ("bad", "sound")}
    monkeypatch.setattr(doctor, "bundled_models", lambda: models)
    result = invoke(command, "--doctor")
    assert len(doctor.examine().problems) == 1  # which decide the exit code
    assert "problem: the bundled model bad " in result.output
    assert words in result.output
    assert "1 of 2 bundled models passed" in result.output
    assert "no problems found" not in result.output
    del models["bad"]
    assert "no problems found" in invoke(command, "--doctor").output
