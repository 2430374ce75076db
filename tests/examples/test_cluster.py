"""The command lines of the job files, run with what Slurm and Kubernetes put into the environment of a task."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from builders import random_pixels
from dae_runtime.images import Image, write_image

pytestmark = pytest.mark.slow
CLUSTER = Path(__file__).parents[2] / "examples" / "cluster"
FILES = 9
SHARDS = 3


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment in which dae-run is that of these sources; IN has images in two folders."""
    for number in range(FILES):
        path = tmp_path / "noisy files" / f"{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, Image(random_pixels((30, 41), seed=number)))
    program = tmp_path / "bin" / "dae-run"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m dae_runtime "$@"\n')
    program.chmod(0o755)
    folders = {"IN": f"{tmp_path}/noisy files", "OUT": f"{tmp_path}/clean files", "SHARDS": f"{SHARDS}"}
    return {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", **folders}


def run(command: list[str], environment: dict[str, str], code: int = 0) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout


def check_whole(environment: dict[str, str], said: list[str]) -> None:
    """Check that all files were done once, and that a plain run finds everything complete once the manifests are one."""
    counts = [re.search(r"^(\d+) of (\d+) files? denoised", text, re.MULTILINE) for text in said]
    assert sum(int(found[1]) for found in counts if found) == FILES
    assert len(list(Path(environment["OUT"]).rglob("*.png"))) == FILES
    run(["dae-run", "--merge-manifests", environment["OUT"]], environment)
    again = run(["dae-run", environment["IN"], environment["OUT"], "-r"], environment)
    assert f"0 of {FILES} files denoised, {FILES} already complete" in again


def test_slurm(environment):
    script = CLUSTER / "slurm.sbatch"
    (last,) = re.findall(r"^#SBATCH --array=1-(\d+)$", script.read_text(), re.MULTILINE)
    assert f"SHARDS=${{SHARDS:-{last}}}" in script.read_text()
    said = []
    for task in range(1, SHARDS + 1):  # Slurm copies the script, and runs it with what its first line names
        said.append(run(["/bin/sh", str(script)], environment | {"SLURM_ARRAY_TASK_ID": str(task)}))
    check_whole(environment, said)


def test_kubernetes(environment):
    job: dict[str, Any] = yaml.safe_load((CLUSTER / "kubernetes.yaml").read_text())
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert {item["name"]: item["value"] for item in container["env"]}["SHARDS"] == str(job["spec"]["completions"])
    assert job["spec"]["podFailurePolicy"]["rules"][1]["onExitCodes"]["containerName"] == container["name"]
    said = []
    for index in range(SHARDS):
        said.append(run(container["command"] + container["args"], environment | {"JOB_COMPLETION_INDEX": str(index)}))
    check_whole(environment, said)


@pytest.mark.skipif(shutil.which("xargs") is None, reason="xargs is not installed")
def test_xargs(environment):
    command = ["/bin/sh", str(CLUSTER / "xargs.sh"), environment["IN"], environment["OUT"], str(SHARDS)]
    said = run(command, environment)
    assert said.endswith("of shards merged into it\n")
    check_whole(environment, said.splitlines())
    (Path(environment["IN"]) / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert f"{FILES} already complete" not in run(command, environment, code=123)  # as xargs says that a process failed
