"""The examples of docs/python-api.md, with fewer steps, each as a program."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dae_train
from dae_runtime.images import Image, write_image

pytestmark = pytest.mark.slow
PAGE = (Path(__file__).parents[2] / "docs/python-api.md").read_text("utf-8")
TRAINING = PAGE.partition("## Training\n")[2].partition("\n## ")[0]
PROGRAMS = re.findall(r"```python\n(.*?)```", TRAINING, re.DOTALL)
RUNS = ("runs/photos", "runs/banding", "runs/every-level", "runs/small", "runs/edges")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the programs run: a folder with a few photographs."""
    root = tmp_path_factory.mktemp("programs")
    (root / "photos").mkdir()
    rows, columns = np.mgrid[:96, :96]
    for number in range(4):
        waves = 128 + 80 * np.sin(rows / (9 + number)) * np.cos(columns / (7 + number))
        write_image(root / "photos" / f"{number}.png", Image(waves.astype(np.uint8)))
    return root


def run(program: str, folder: Path) -> str:
    short = program.replace("steps=20_000", "steps=4, batch_size=4")
    line = [sys.executable, "-c", short]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=300, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_there_is_a_program_for_each_topic() -> None:
    assert len(PROGRAMS) == 6
    assert all(f'"{run}"' in program for run, program in zip(RUNS, PROGRAMS, strict=False))
    assert all("steps=20_000" in program for program in PROGRAMS[:5])


@pytest.mark.parametrize("number", range(5))
def test_a_program_trains(number: int, folder: Path) -> None:
    said = run(PROGRAMS[number], folder)
    assert (folder / RUNS[number] / "model.keras").is_file()
    assert (folder / RUNS[number] / "result.toml").is_file()
    assert ("model.keras" in said) == (number == 0)


def test_a_program_resumes(folder: Path) -> None:
    if not (folder / RUNS[0]).exists():
        run(PROGRAMS[0], folder)
    (folder / RUNS[0] / "result.toml").unlink()
    run(PROGRAMS[5], folder)
    assert (folder / RUNS[0] / "result.toml").is_file()


def test_every_documented_name_is_public() -> None:
    imported = {name for line in re.findall(r"from dae_train import (.*)", TRAINING) for name in line.split(", ")}
    told = set(re.findall(r"`([A-Z]\w+(?:Settings|Error)|PRESETS|from_\w+|to_toml|resume)\b", TRAINING))
    assert {"train", "resume", "RunConfig"} <= imported
    assert imported | told - {"DeviceError"} <= set(dae_train.__all__)
