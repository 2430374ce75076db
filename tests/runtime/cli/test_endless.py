"""Streams without end are not read without end."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest

from builders import random_pixels
from dae_runtime import ImageError
from dae_runtime.images import encode, read_image

pytestmark = pytest.mark.slow
MEMORY = 3 * 2**30


def limit_memory():
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


@pytest.mark.parametrize("start", [b"", encode(random_pixels((8, 8)), "png")[:40]], ids=["zeros", "an image that goes on"])
@pytest.mark.parametrize(("path", "output"), [("-", "-"), ("-", "out.png"), ("/dev/stdin", "-")])
def test_an_endless_input_is_refused(tmp_path, blur_file, start, path, output):
    command = [sys.executable, "-m", "dae_runtime", path, output, "-m", blur_file, "--device", "cpu", "--max-megapixels", "1"]
    with subprocess.Popen(
        [*map(str, command)], stdin=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path, preexec_fn=limit_memory
    ) as process:
        try:
            process.stdin.write(start)
            while process.poll() is None:
                process.stdin.write(bytes(2**20))
            process.stdin.close()
        except BrokenPipeError:
            pass
        errors = process.stderr.read().decode()
        assert process.wait(60) in (1, 3), errors
    assert "Traceback" not in errors
    assert "image" in errors
    assert not (tmp_path / "out.png").exists()


def test_a_device_without_end_is_no_image():
    if os.path.exists("/dev/zero"):  # noqa: PTH110
        with pytest.raises(ImageError, match="/dev/zero"):
            read_image("/dev/zero")
