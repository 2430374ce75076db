"""An export that is ended from outside leaves a whole file or none, nothing beside it, and no traceback."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import onnx
import pytest

from builders import wait_until_interruptible

MAIN = "from dae_export.cli import main; main()"
PARTS = 3
"""Moments of an export at which it is ended, evenly spread over the time that it takes."""


def start(run: Path, folder: Path) -> subprocess.Popen[str]:
    words = (run, "-o", folder / "model.onnx", "--report", folder / "report.html", "--min-psnr-gain", -100)
    line = [sys.executable, "-c", MAIN, *map(str, words)]
    return subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_the_end_of_an_export_leaves_a_whole_file_or_none(make_run, tmp_path):
    run = make_run(tmp_path / "run")
    (tmp_path / "whole").mkdir()
    began = time.monotonic()
    assert start(run, tmp_path / "whole").wait(300) == 0
    took = time.monotonic() - began
    ended = []
    for part in range(PARTS):
        for name in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            folder = tmp_path / f"{name.name}-{part}"
            folder.mkdir()
            process = start(run, folder)
            wait_until_interruptible(process)
            time.sleep(took * (part + 0.5) / PARTS)
            process.send_signal(name)
            _, said = process.communicate(timeout=60)
            left = {path.name for path in folder.iterdir()}
            assert "Traceback" not in said
            if process.returncode == 0:  # it was faster this time
                continue
            ended.append(name)
            if name != signal.SIGKILL:
                assert process.returncode == 130, said
            litter = {file for file in left if name == signal.SIGKILL and re.match(r"\.dae-tmp", file)}
            assert left - litter <= {"model.onnx", "report.html"}
            if "model.onnx" in left:
                onnx.checker.check_model(folder / "model.onnx")
    assert len(ended) >= PARTS
