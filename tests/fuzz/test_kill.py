"""A folder run killed at any moment continues with --resume and ends with identical files.

DAE_FUZZ_KILLS sets how often; `make nightly` sets it high.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dae_runtime.images import Image, write_image
from dae_runtime.system.atomic import TEMPORARY_PREFIX

KILLS = int(os.environ.get("DAE_FUZZ_KILLS", "5"))
FILES = 24


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images of several formats and sizes, enough for a second of work."""
    (tmp_path / "in").mkdir()
    for number in range(FILES):
        shape = (150 + 40 * (number % 5), 400, 3)[: 2 + number % 2]
        pixels = np.random.default_rng(number).integers(0, 256, shape).astype(np.uint8)
        write_image(tmp_path / "in" / f"{number:02}.{('png', 'jpg', 'tif', 'webp')[number % 4]}", Image(pixels))
    return tmp_path


def digests(folder: Path) -> dict[str, str]:
    """The content of every finished file but the manifest."""
    found = folder.iterdir() if folder.exists() else []
    paths = [path for path in found if path.name[:1] != "." and path.suffix != ".jsonl"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def command(folder: Path, model: Path, output: str, *options: str) -> list[str]:
    words = [folder / "in", folder / output, "-m", model, "--device", "cpu", "--threads", "1", *options]
    return [sys.executable, "-m", "dae_runtime", *map(str, words)]


def wait_for_files(process: subprocess.Popen[str], output: Path, count: int) -> None:
    """Return when so many files are finished, or the process is."""
    while process.poll() is None and len(digests(output)) < count:
        time.sleep(0.002)


@pytest.mark.timeout(1800)
def test_killed_runs_end_with_the_same_files(folder, sound_files):
    model = sound_files / "models" / "float.onnx"
    start = time.monotonic()
    subprocess.run(command(folder, model, "whole"), check=True, capture_output=True)
    duration_s = time.monotonic() - start
    whole = digests(folder / "whole")
    assert len(whole) == FILES
    rng, kills, midway, rounds = random.Random(7), 0, 0, 0
    while kills < KILLS:
        rounds += 1
        output, manifest = f"out{rounds}", str(folder / f"{rounds}.jsonl")
        resume = command(folder, model, output, "--manifest", manifest, "--resume")
        while kills < KILLS:
            with subprocess.Popen(resume, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
                if kills % 2:  # on a busy machine the time of another run tells little: every other kill waits for files
                    wait_for_files(process, folder / output, rng.randrange(1, FILES))
                try:
                    _, errors = process.communicate(timeout=rng.uniform(0, 1 - 0.9 * (kills % 2)) * duration_s)
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
                    kills += 1
                else:
                    assert process.returncode == 0, errors
                    break
            done = digests(folder / output)
            midway += 0 < len(done) < FILES
            assert done.items() <= whole.items(), "a killed run left a file that is not whole"
        result = subprocess.run(resume, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        assert digests(folder / output) == whole
        left = [path.name for path in (folder / output).iterdir() if path.name.startswith(TEMPORARY_PREFIX)]
        assert len(left) <= kills, left
    print(f"{kills} kills, {midway} of them midway, {rounds} rounds")
    assert midway >= KILLS // 5, "the kills all came too early or too late to test anything"
