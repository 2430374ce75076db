"""Standard input and output: images, raw frames, and readers that go away."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from builders import random_pixels
from dae_runtime.images import read_image

pytestmark = pytest.mark.slow


def test_a_reader_that_goes_away_is_no_crash(tmp_path, images, dae_run):
    for index in range(3, 2000):
        os.link(images / "0.png", images / f"{index}.png")
    code = "import sys; from dae_runtime.cli import main; main()"
    arguments = [sys.executable, "-c", code, "--dry-run", str(images), str(tmp_path / "out")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.read(10)
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()


def test_standard_input_and_output(tmp_path, images, blur_file, blur, run_python):
    data = (images / "0.png").read_bytes()
    expected = blur.denoise(read_image(images / "0.png").pixels)

    def run(*arguments, content=b""):
        command = [sys.executable, "-m", "dae_runtime", "-m", str(blur_file), *map(str, arguments)]
        return subprocess.run(command, input=content, capture_output=True, timeout=60, check=False)

    both = run("-", "-", content=data)
    assert both.returncode == 0, both.stderr
    (tmp_path / "both.png").write_bytes(both.stdout)
    (tmp_path / "out.tif").write_bytes(run(images / "0.png", "-", "--format", "tif").stdout)
    assert run("-", tmp_path / "in.pgm", content=data).returncode == 0
    for name in ("both.png", "out.tif", "in.pgm"):
        np.testing.assert_array_equal(read_image(tmp_path / name).pixels, expected)
    (tmp_path / "gray.ppm").write_bytes(run("-", "-", "--format", "ppm", content=data).stdout)
    np.testing.assert_array_equal(read_image(tmp_path / "gray.ppm").pixels, np.repeat(expected[..., None], 3, axis=-1))
    again = run("-", tmp_path / "in.pgm", content=data)
    assert (again.returncode, b"--overwrite" in again.stderr) == (1, True)
    broken = run("-", "-", content=data[:60])
    assert (broken.returncode, broken.stdout) == (1, b"")
    assert broken.stderr.splitlines()[-1].startswith(b"error: the image: ")


def test_raw_frames_through_a_pipe(tmp_path, blur_file, blur):
    frames = random_pixels((25, 12, 16, 3))
    command = [sys.executable, "-m", "dae_runtime", "-m", str(blur_file), "--raw", "16x12x3"]
    result = subprocess.run(command, input=frames.tobytes(), capture_output=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    np.testing.assert_array_equal(np.frombuffer(result.stdout, np.uint8).reshape(frames.shape), blur.denoise(frames))
    assert b"25 frames denoised" in result.stderr
    (tmp_path / "frames").write_bytes(frames.tobytes()[:-1])
    result = subprocess.run([*command, str(tmp_path / "frames"), "-"], capture_output=True, timeout=60, check=False)
    assert result.returncode == 1
    assert b"within frame 24" in result.stderr
    assert result.stdout == blur.denoise(frames[:24]).tobytes()


def test_raw_output_is_whole_or_not_there(tmp_path, blur_file, dae_run):
    frames, out = tmp_path / "frames.raw", tmp_path / "out.raw"
    frames.write_bytes(bytes(range(192)) * 2 + b"part of a frame")
    command = ("-m", blur_file, "--raw", "16x12x1", frames)
    assert dae_run(*command, out).returncode == 1
    assert not out.exists()
    out.write_bytes(b"mine")
    assert dae_run(*command, out, "--overwrite").returncode == 1
    assert out.read_bytes() == b"mine"
    before = frames.read_bytes()
    assert dae_run(*command, frames, "--overwrite").returncode == 2
    assert frames.read_bytes() == before
    frames.write_bytes(before[:384])
    assert dae_run(*command, out, "--overwrite").returncode == 0
    assert out.stat().st_size == 384
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".raw") == ["frames.raw", "out.raw"]


def test_a_full_standard_output_is_one_line(images, blur_file):
    command = f"{sys.executable} -m dae_runtime -m {blur_file} - - < {images / '0.png'} > /dev/full"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr
