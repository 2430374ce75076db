"""A hot folder that is watched again goes on from its manifest, as the same command over a folder does."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from builders import random_pixels, wait_until
from dae_runtime.images import Image, read_image, write_image

pytestmark = pytest.mark.slow


def watched(until: Callable[[], bool], *arguments: object) -> str:
    """Watch a folder until a condition holds; return what was said on standard error."""
    line = [sys.executable, "-m", "dae_runtime", *map(str, arguments), "--watch", "--device", "cpu"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_until(until)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    return errors


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("first", ["watch", "folder"])
def test_only_what_is_new_or_has_changed_is_done(tmp_path, images, blur_file, blur, dae_run, named, first):
    out = tmp_path / "out"
    command = ("-m", blur_file, images, out, *(("--manifest", tmp_path / "m.jsonl") if named else ()))
    manifest = tmp_path / "m.jsonl" if named else out / "dae-manifest.jsonl"
    if first == "watch":
        watched(lambda: manifest.exists() and manifest.read_text().count('"status": "done"') == 3, *command)
    else:
        assert dae_run(*command, "--device", "cpu").returncode == 0
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in out.glob("*.png")}
    write_image(images / "1.png", Image(random_pixels((7, 9), seed=5)))  # changed while nobody watched
    for folder, seed in ((images, 6), (out, 7)):  # and one that a person has retouched
        write_image(folder / "2.png", Image(random_pixels((4, 4), seed=seed)))
    persons = (out / "2.png").read_bytes()
    write_image(images / "late.png", Image(random_pixels((9, 9))))
    done = [out / "late.png", out / "1.png"]
    errors = watched(lambda: done[0].exists() and done[1].read_bytes() != before["1.png"][1], *command)
    assert f"watching {images}; 1 kept from before; interrupt to stop\n" in errors
    assert (out / "0.png").stat().st_mtime_ns == before["0.png"][0]
    assert (out / "2.png").read_bytes() == persons
    for name in ("1.png", "late.png"):
        expected = blur.denoise(read_image(images / name).pixels)
        np.testing.assert_array_equal(read_image(out / name).pixels, expected)
    again = dae_run(*command, "--device", "cpu")  # a run over the folder goes on from there, too
    assert "0 of 4 files denoised, 3 already complete, 1 failed" in again.stdout


def test_outputs_of_other_settings_stay(tmp_path, images, blur_file, dae_run):
    out = tmp_path / "out"
    assert dae_run("-m", blur_file, images, out).returncode == 0
    before = {path.name: path.read_bytes() for path in out.glob("*.png")}
    write_image(images / "late.png", Image(random_pixels((9, 9))))
    errors = watched((out / "late.png").exists, "-m", blur_file, images, out, "--strength", "0.5")
    assert f"watching {images}; interrupt to stop\n" in errors
    assert errors.count(".png exists\n") == 3
    assert before.items() <= {path.name: path.read_bytes() for path in out.glob("*.png")}.items()
