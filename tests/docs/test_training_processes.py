"""The lines of docs/training-processes.md for Slurm and Kubernetes start `dae-train` as they should."""

import os
import re
import subprocess
import textwrap
from pathlib import Path

import pytest

from dae_train.cli import command

PAGE = (Path(__file__).parents[2] / "docs" / "training-processes.md").read_text("utf-8")
PLACE = ["--processes", "4", "--process-id", "2", "--coordinator"]


@pytest.fixture
def started(tmp_path: Path):
    """Run a line of the shell with programs that print what they are given; return the arguments of `dae-train`."""
    programs = {
        "dae-train": 'printf "%s\\n" "$@"',
        "scontrol": 'test "$*" = "show hostnames node[3-4]" && printf "node3\\nnode4\\n"',
        "srun": 'test "${4:0:2}" = ba && exec "${@:4}"',
    }
    for name, words in programs.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{words}\n")
        (tmp_path / name).chmod(0o755)

    def run(line: str, **environment: str) -> list[str]:
        names = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", **environment}
        return subprocess.run(["bash", "-c", line], env=names, capture_output=True, text=True, check=True).stdout.splitlines()

    return run


def test_line_for_slurm(started) -> None:
    line = re.search(r"```\n(srun .*?)```", PAGE, re.DOTALL)
    assert line
    words = started(line[1], SLURM_NTASKS="4", SLURM_PROCID="2", SLURM_JOB_NODELIST="node[3-4]")
    assert words[-6:] == [*PLACE, "node3:29500"]
    assert words[0] == "photos/"


def test_script_of_the_job_for_kubernetes(started, tmp_path: Path) -> None:
    found = re.search(r"- \|\n(.*?)\n +volumeMounts", PAGE, re.DOTALL)
    assert found
    script = textwrap.dedent(found[1]).replace("/runs", str(tmp_path))
    first = started(script, JOB_COMPLETION_INDEX="2")
    assert first[-6:] == [*PLACE, "large-0.train:29500"]
    assert first[0] == "/photos"
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "last.keras").touch()
    assert started(script, JOB_COMPLETION_INDEX="2") == ["--resume", "-o", str(tmp_path / "large"), *first[-6:]]


def test_flags_of_the_page_are_those_of_the_command() -> None:
    known = {flag for parameter in command.params for flag in parameter.opts}
    slurm = {"--ntasks", "--gpus-per-task", "--kill-on-bad-exit"}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE)) - slurm <= known
