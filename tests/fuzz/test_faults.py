"""What the world does to a folder run: full disks, missing rights, files that vanish. Real processes, real files."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dae_runtime import Denoiser
from dae_runtime.images import Image, read_image, write_image
from dae_runtime.jobs.manifest import MANIFEST_NAME
from dae_runtime.jobs.plan import plan
from dae_runtime.jobs.run import run_jobs
from dae_runtime.jobs.worker import JobOptions

# Root may read and write everything; without its capabilities it gets permission errors (capset(2), version 3).
POWERLESS = """
import ctypes, sys
ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())
from dae_runtime.cli import main
main()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder `in` of six images, two of them much larger than the others."""
    (tmp_path / "in").mkdir()
    for number in range(6):
        side = 200 if number in (1, 4) else 40
        pixels = np.random.default_rng(number).integers(0, 256, (side, side)).astype(np.uint8)
        write_image(tmp_path / "in" / f"{number}.png", Image(pixels))
    return tmp_path


@pytest.fixture
def dae_run(sound_files: Path):
    def run(*arguments: object, powerless: bool = False, **options: object) -> subprocess.CompletedProcess[str]:
        start = ["-c", POWERLESS] if powerless else ["-m", "dae_runtime"]
        words = [sys.executable, *start, *arguments, "-m", sound_files / "models" / "float.onnx", "--device", "cpu"]
        return subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=120, check=False, **options)

    return run


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != MANIFEST_NAME)


def assert_whole(folder: Path) -> None:
    """Every file there is can be read; nothing unfinished is left."""
    for path in map(folder.joinpath, names(folder)):
        assert not path.name.startswith(".dae-tmp-"), path
        read_image(path)


def test_a_limit_on_the_size_of_files(folder, dae_run):
    result = dae_run(
        folder / "in",
        folder / "out",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )
    assert result.returncode == 3, result.stderr
    assert names(folder / "out") == ["0.png", "2.png", "3.png", "5.png"]
    assert_whole(folder / "out")
    assert result.stderr.count("File too large") == 2
    assert "Traceback" not in result.stderr


@pytest.fixture
def tiny_disk() -> Iterator[Path | None]:
    """A disk of 64 KiB, or None where this user may not mount one."""
    with tempfile.TemporaryDirectory() as name:
        mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "dae", name], capture_output=True, check=False)
        try:
            yield Path(name) if mount.returncode == 0 else None
        finally:
            if mount.returncode == 0:
                subprocess.run(["umount", name], check=True)


def test_a_full_disk(folder, dae_run, tiny_disk):
    output = (tiny_disk or folder) / "out"
    limit = None if tiny_disk else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    result = dae_run(folder / "in", output, preexec_fn=limit)
    assert result.returncode == 3, result.stderr
    assert_whole(output)
    assert 1 <= len(names(output)) < 6
    assert "Traceback" not in result.stderr
    expected = "No space left" if tiny_disk else "File too large"
    assert expected in result.stderr
    failed = {line.split(": ")[1] for line in result.stderr.splitlines() if line.startswith("failed: ")}
    assert len(failed) == 6 - len(names(output))


def test_an_output_that_may_not_be_written(folder, dae_run):
    (folder / "out").mkdir()
    (folder / "out").chmod(0o555)
    result = dae_run(folder / "in", folder / "out", powerless=True)
    assert result.returncode == 1, result.stderr
    assert result.stderr.count("Permission denied") == 1
    assert "Traceback" not in result.stderr
    assert names(folder / "out") == []
    (folder / "out").chmod(0o755)


def test_an_output_that_cannot_be_made(folder, dae_run):
    (folder / "locked").mkdir()
    (folder / "locked").chmod(0o555)
    result = dae_run(folder / "in", folder / "locked" / "out", powerless=True)
    assert result.returncode in (1, 3), result.stderr
    assert "Permission denied" in result.stderr
    assert "Traceback" not in result.stderr
    (folder / "locked").chmod(0o755)


def test_an_input_that_may_not_be_read(folder, dae_run):
    (folder / "in" / "3.png").chmod(0)
    result = dae_run(folder / "in", folder / "out", powerless=True)
    assert result.returncode == 3, result.stderr
    assert names(folder / "out") == ["0.png", "1.png", "2.png", "4.png", "5.png"]
    assert_whole(folder / "out")
    assert "3.png: cannot be read: Permission denied" in result.stderr


def test_a_folder_that_may_not_be_read(folder, dae_run):
    (folder / "in").chmod(0)
    result = dae_run(folder / "in", folder / "out", powerless=True)
    (folder / "in").chmod(0o755)
    assert result.returncode in (1, 2)
    assert "Permission denied" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_model_that_may_not_be_read(folder, dae_run, sound_files):
    locked = folder / "locked.onnx"
    locked.write_bytes((sound_files / "models" / "float.onnx").read_bytes())
    locked.chmod(0)
    words = [sys.executable, "-c", POWERLESS, folder / "in", folder / "out", "-m", locked]
    result = subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 1
    assert "locked.onnx cannot be read: Permission denied" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("what", ["file", "folder"])
def test_inputs_that_vanish_after_the_plan(folder, sound_files, what):
    jobs = plan(folder / "in", folder / "out")
    gone = [job.source for job in jobs] if what == "folder" else [jobs[2].source]
    for path in gone:
        path.unlink()
    with Denoiser(sound_files / "models" / "float.onnx", "cpu", 1) as denoiser:
        results = list(run_jobs(denoiser, jobs))
    assert [result.error is not None for result in results] == [job.source in gone for job in jobs]
    assert all("No such file" in result.error for result in results if result.error)
    assert len(names(folder / "out")) == 6 - len(gone) if (folder / "out").exists() else len(gone) == 6


def test_an_output_that_vanishes_during_the_run(folder, sound_files):
    jobs = plan(folder / "in", folder / "out")
    with Denoiser(sound_files / "models" / "float.onnx", "cpu", 1) as denoiser:
        results = []
        for result in run_jobs(denoiser, jobs, JobOptions(batch_size=1)):
            results.append(result)
            if len(results) == 2:
                (folder / "out").rename(folder / "taken")
    assert len(results) == 6
    # What was not done by then is written to a folder made anew, or reported; a file that moved unfinished keeps its odd name.
    written = {path.name for path in folder.glob("[ot]*/[0-9].png")}
    assert len(written) + sum(result.error is not None for result in results) == 6
    for path in folder.glob("[ot]*/[0-9].png"):
        read_image(path)
