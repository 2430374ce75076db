"""Programs get an error of this toolkit for any path, whatever lies there: never one of the operating system, and no hang."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from any_path import CONDITIONS, NOTHING, sound

pytestmark = pytest.mark.slow

# Root may read everything; without its capabilities it is bound by permissions like others.
PROGRAM = """
import ctypes, json, os, signal, sys, traceback
ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())
from dae_export import ExportOptions, check_sums, convert_file, export
from dae_runtime import DaeError, Denoiser, FolderRequest, run_folder
from dae_runtime.images import Image, read_image, write_image
from dae_train import DataSettings, NoiseSettings, RunConfig, TrainingSettings, from_toml, resume, train
import numpy

def run(source="in", output="out", **names):
    with Denoiser("m.onnx", "cpu", 1) as denoiser:
        return run_folder(FolderRequest(source, output, **names), denoiser)

def told(**names):
    return train(RunConfig(**names), "new")

USES = {
    "train, output": lambda path: train(RunConfig(data=DataSettings("nowhere.npz")), path),
    "train, data": lambda path: told(data=DataSettings(path)),
    "train, target": lambda path: told(data=DataSettings("in", path)),
    "train, groups": lambda path: told(data=DataSettings("in", validation_groups=path)),
    "train, init": lambda path: told(training=TrainingSettings(init=path), data=DataSettings("data.npz")),
    "train, teacher": lambda path: told(training=TrainingSettings(teacher=path), data=DataSettings("data.npz", limit=4)),
    "resume": resume,
    "from_toml": from_toml,
    "export, source": lambda path: export(path, "new.onnx"),
    "export, output": lambda path: export("run", path),
    "export, report": lambda path: export("run", "new.onnx", ExportOptions(report=path)),
    "export, samples": lambda path: export("run", "new.onnx", ExportOptions(quantize=True, calibration_data=path)),
    "convert, source": lambda path: convert_file(path, "new.onnx", ExportOptions(calibration_data="noisy.npz")),
    "convert, output": lambda path: convert_file("int8.onnx", path, ExportOptions()),
    "convert, samples": lambda path: convert_file("int8.onnx", "new.onnx", ExportOptions(calibration_data=path)),
    "check_sums": check_sums,
    "Denoiser": lambda path: Denoiser(path, "cpu", 1),
    "run_folder, source": lambda path: run(path),
    "run_folder, output": lambda path: run(output=path),
    "run_folder, reference": lambda path: run(reference=path, overwrite=True),
    "run_folder, manifest": lambda path: run(manifest=path, overwrite=True),
    "run_folder, report": lambda path: run(report=path, overwrite=True),
    "read_image": read_image,
    "write_image": lambda path: write_image(path, Image(numpy.zeros((9, 8), numpy.uint8))),
}
wrong = []
for name, folder, path in json.load(sys.stdin):
    os.chdir(folder)
    for use, function in USES.items():
        signal.alarm(60)
        for suffix in ("", ".onnx") if "export" in use or "convert" in use else ("",):
            try:
                function(path + suffix)
            except DaeError as error:
                text = str(error)
                if "Errno" in text or not text:
                    wrong.append((use, name, text))
            except BaseException:
                wrong.append((use, name, traceback.format_exc()[-700:]))
print(json.dumps(wrong))
"""


def test_only_errors_of_the_toolkit(tmp_path: Path) -> None:
    cases = []
    for number, (name, (path, make)) in enumerate(CONDITIONS.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        sound(folder)
        if make is not NOTHING:
            make(folder / path)
        cases.append((name, str(folder), path))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=json.dumps(cases), capture_output=True, text=True, timeout=550, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    wrong = json.loads(done.stdout.splitlines()[-1])
    assert not wrong, "\n".join(": ".join(found) for found in wrong)
