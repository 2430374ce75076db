"""What `dae-run` prints besides its results: progress, notes, warnings."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import threading

import numpy as np
import pytest

from builders import random_pixels
from dae_runtime.images import Image, read_image, write_image

pytestmark = pytest.mark.slow


def run_on_terminal(*arguments):
    """Run Python with a terminal as standard error; return the process and what the terminal got."""
    terminal, end = pty.openpty()
    shown = bytearray()

    def read() -> None:  # meanwhile: a terminal holds only 4 KiB that nobody has read
        try:
            while part := os.read(terminal, 4096):
                shown.extend(part)
        except OSError:  # a pseudo-terminal that is read out
            pass

    reader = threading.Thread(target=read)
    reader.start()
    command = [sys.executable, *map(str, arguments)]
    result = subprocess.run(command, stderr=end, stdout=subprocess.PIPE, timeout=300, check=False)
    os.close(end)
    reader.join()
    os.close(terminal)
    return result, bytes(shown)


def test_a_terminal_gets_a_progress_bar(tmp_path, images, blur_file):
    result, shown = run_on_terminal("-m", "dae_runtime", "-m", blur_file, images, tmp_path / "out")
    assert result.returncode == 0
    assert b"denoising" in shown
    for number in range(4):  # also of small files, whose results come in one group
        assert b"%d/3" % number in shown
    for name in (b"0.png", b"1.png"):
        assert name in shown
    assert result.stdout.startswith(b"3 of 3 files")


def test_a_terminal_gets_the_progress_within_a_large_image(tmp_path, blur_file):
    write_image(tmp_path / "a.png", Image(random_pixels((1200, 1200))))
    code = "from dae_runtime import cli; from dae_runtime.cli import progress; progress.REDRAW_S = 0; cli.main()"
    result, shown = run_on_terminal("-c", code, "-m", blur_file, tmp_path / "a.png", tmp_path / "b.png")
    assert result.returncode == 0
    assert re.findall(rb"0/1  (\d+) parts", shown) == [b"%d" % number for number in range(2, 10)]  # three by three tiles


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_names_that_the_terminal_cannot_print(tmp_path, dae_run, encoding):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("色.png", os.fsdecode(b"\xff.png")):
        (folder / name).touch()
    result = dae_run("--dry-run", folder, tmp_path / "out", env={**os.environ, "PYTHONIOENCODING": encoding})
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == 2


@pytest.mark.parametrize(
    ("package", "options", "shown"),
    [("onnxruntime", (), False), ("onnxruntime", ("-v",), True), ("onnxruntime-gpu", (), True)],
)
def test_the_device_is_logged_only_where_there_was_a_choice(tmp_path, images, blur_file, run_python, package, options, shown):
    code = (
        "from dae_runtime import cli\nfrom dae_runtime.engine import packages\n"
        f"packages.installed_engines = lambda: {{{package!r}: '1.0'}}\n"
        "cli.main()"
    )
    result = run_python("-c", code, "-m", blur_file, images / "0.png", tmp_path / "a.png", *options)
    assert result.returncode == 0
    assert ("running on" in result.stderr) == shown


def test_quiet_prints_only_errors(tmp_path, images, blur_file, dae_run):
    (images / "a.psd").touch()
    loud = dae_run("-m", blur_file, images, tmp_path / "a")
    assert "passed over: 1 .psd" in loud.stderr
    quiet = dae_run("-q", "-m", blur_file, images, tmp_path / "b")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")


def test_a_lossy_name_of_a_lossless_file_is_reported_once(tmp_path, images, blur_file, dae_run):
    for index in range(7):
        write_image(tmp_path / "a.png", Image(random_pixels((10, 12))))
        (tmp_path / "a.png").rename(images / f"{index}.jpg")
    result = dae_run("-m", blur_file, images, tmp_path / "out")
    (line,) = (line for line in result.stderr.splitlines() if "lossless" in line)
    assert line.startswith("7 files")
    assert "in/0.jpg, " in line
    assert "in/4.jpg, and 2 more." in line
    assert read_image(tmp_path / "out" / "0.jpg").kind == "jpeg"


def test_bits_that_a_format_cannot_hold_are_reported_once(tmp_path, blur_file, dae_run):
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        write_image(tmp_path / "in" / f"{name}.png", Image(random_pixels((10, 12)).astype(np.uint16) * 257))
    write_image(tmp_path / "in" / "c.png", Image(random_pixels((10, 12))))
    kept = dae_run("-m", blur_file, tmp_path / "in", tmp_path / "kept", "--format", "tif")
    assert "8 bits" not in kept.stderr
    cut = dae_run("-m", blur_file, tmp_path / "in", tmp_path / "cut", "--format", "bmp")
    (line,) = (line for line in cut.stderr.splitlines() if "8 bits" in line)
    assert line.startswith("2 files reduced from 16 to 8 bits")
    assert line.endswith("in/b.png. Write PNG or TIFF to keep every bit")


def test_skipped_folders_are_reported(tmp_path, images, blur_file, dae_run):
    alone = dae_run("-m", blur_file, images, tmp_path / "a")
    (images / "more").mkdir()
    flat = dae_run("-m", blur_file, images, tmp_path / "b")
    deep = dae_run("-m", blur_file, images, tmp_path / "c", "-r")
    assert ["sub-folders" in result.stderr for result in (alone, flat, deep)] == [False, True, False]


def test_what_is_passed_over_is_named_with_the_way_to_have_it_read(tmp_path, images, blur_file, dae_run):
    for name in ("1.psd", "2.PSD", "notes.txt", "dae-manifest.jsonl"):
        (images / name).touch()
    for extra in (("--dry-run",), ()):
        told = dae_run("-m", blur_file, images, tmp_path / "out", *extra).stderr
        assert re.fullmatch(rf"{images}: passed over: 2 \.(psd|PSD) \(convert them to TIFF or PNG first\), 1 \.txt\n", told)
    assert dae_run("-q", "-m", blur_file, images, tmp_path / "other").stderr == ""


def test_many_files_are_told_how_they_are_named(tmp_path, images, dae_run):
    refused = dae_run(*sorted(images.glob("*.png")), tmp_path / "out")
    assert refused.returncode == 2
    assert refused.stderr.endswith(
        "Many files are named by their folder, or by a pattern in quotes, such as 'photos/*.jpg'.\n"
    )
