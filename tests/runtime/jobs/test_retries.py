"""A hot folder goes on: with what failed for want of space or permission, and with folders that go and come."""

from __future__ import annotations

import errno
import itertools
import signal
import subprocess
import sys

import pytest

from builders import random_pixels, wait_until
from dae_runtime.errors import ImageError
from dae_runtime.images import Image, read_image, write_image
from dae_runtime.jobs.run import run_jobs
from dae_runtime.jobs.watch import LONGEST_WAIT, HotFolder
from dae_runtime.jobs.worker import FileResult
from dae_runtime.system.messages import may_pass


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    write_image(tmp_path / "in" / "a.png", Image(random_pixels((9, 8))))
    return tmp_path / "in"


def caused(error, cause):
    error.__cause__ = cause
    return error


def test_what_may_pass():
    full = OSError(errno.ENOSPC, "No space left on device")
    for error in (full, MemoryError(), caused(ImageError("a.png: x"), full), ImageError("webp: No space left on device")):
        assert may_pass(error)
    for error in (ImageError("it is no image"), FileExistsError(errno.EEXIST, "exists"), ValueError("x"), None):
        assert not may_pass(error)


def test_a_failure_that_may_pass_is_retried_ever_more_rarely(tmp_path, folder):
    hot = HotFolder(folder, tmp_path / "out")
    assert hot.look() == []
    attempts = []
    for look in range(400):
        for job in hot.look():
            attempts.append(look)
            assert hot.is_retry(job) == (len(attempts) > 1)
            hot.note(FileResult(job, "no space", 0.1, may_pass=True))
    waits = [b - a for a, b in itertools.pairwise(attempts)]
    assert waits[:7] == [1, 2, 4, 8, 16, 32, LONGEST_WAIT]
    assert set(waits[7:]) == {LONGEST_WAIT}


def test_a_failure_of_the_file_itself_is_not_retried(tmp_path, folder, blur):
    (folder / "a.png").write_text("text")
    hot = HotFolder(folder, tmp_path / "out")
    hot.look()
    for _ in range(5):
        for result in run_jobs(blur, jobs := hot.look(), may_replace=hot.may_replace, protection=hot.protection):
            hot.note(result)
        assert jobs == [] or not result.may_pass
    assert hot.look() == []


def test_an_output_folder_that_cannot_be_made_now(tmp_path, folder, blur):
    """The failure of a real run, and its success once the obstacle is gone."""
    (tmp_path / "out").symlink_to(tmp_path / "gone" / "out")
    (tmp_path / "out").unlink()
    hot = HotFolder(folder, tmp_path / "gone" / "out")
    hot.look()
    (tmp_path / "gone").symlink_to("/proc/1/nothing")  # nothing can be created there
    (result,) = run_jobs(blur, hot.look(), may_replace=hot.may_replace, protection=hot.protection)
    assert result.may_pass, result.error
    hot.note(result)
    (tmp_path / "gone").unlink()
    (result,) = run_jobs(blur, hot.look(), may_replace=hot.may_replace, protection=hot.protection)
    assert result.error is None
    assert read_image(result.job.destination).pixels.shape == (9, 8)


@pytest.mark.slow
def test_watching_outlives_a_folder_that_goes_and_comes(tmp_path, folder, blur_file):
    out = tmp_path / "out"
    (folder / "sub").mkdir()
    command = [sys.executable, "-m", "dae_runtime", "-m", str(blur_file), str(folder), str(out), "--watch", "-r"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: (out / "a.png").exists())
        folder.rename(tmp_path / "away")
        assert "waiting" not in process.stderr.readline()  # that it watches
        assert process.stderr.readline().startswith("waiting: the folder ")
        write_image(tmp_path / "away" / "sub" / "b.png", Image(random_pixels((9, 8))))
        (tmp_path / "away" / "sub" / "c.png").symlink_to("c.png")
        (tmp_path / "away").rename(folder)
        wait_until(lambda: (out / "sub" / "b.png").exists())
        assert "c.png: cannot be read: Too many levels" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert "Traceback" not in errors
