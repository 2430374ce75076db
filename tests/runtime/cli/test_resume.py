"""Interrupted runs, and the files that `--resume` replaces."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from builders import random_pixels, wait_until
from dae_runtime.images import Image, read_image, write_image
from dae_runtime.system.atomic import TEMPORARY_PREFIX

pytestmark = pytest.mark.slow


def fill_with_links(folder: Path) -> None:
    """Make a folder of 1,500 images, which takes a run some seconds."""
    folder.mkdir()
    write_image(folder / "0.png", Image(random_pixels((300, 300, 3))))
    for index in range(1, 1500):
        os.link(folder / "0.png", folder / f"{index}.png")


def test_interrupting_leaves_whole_files_and_the_same_command_goes_on(tmp_path, blur_file, dae_run):
    folder, out = tmp_path / "in", tmp_path / "out"
    fill_with_links(folder)
    arguments = [sys.executable, "-m", "dae_runtime", "-m", str(blur_file), str(folder), str(out)]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while not any(out.glob("[0-9]*.png")) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        summary, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in error
    written = list(out.glob("[0-9]*.png"))
    assert 0 < len(written) < 1500
    assert summary.startswith(f"{len(written)} of 1500 files denoised, 0 failed".encode())
    for path in written:
        assert read_image(path).pixels.shape == (300, 300, 3)
    assert f"{len(written)} of 1500 files are whole; the same command goes on from there\n".encode() in error
    for path in [path for path in folder.iterdir() if not (out / path.name).exists()][20:]:
        path.unlink()  # a second on each is too long for a test
    again = dae_run(*arguments[3:])
    assert again.returncode == 0, again.stderr
    assert f"{len(written)} kept from before, 20 to do\n" in again.stderr
    assert f"20 of {len(written) + 20} files denoised, {len(written)} already complete" in again.stdout


def outputs(folder):
    """Return the content of every file but the manifest, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".jsonl"}


def test_resuming_does_only_what_is_not_complete(tmp_path, images, blur_file, dae_run):
    (images / "3.png").write_text("text")
    command = ("-m", blur_file, images, tmp_path / "out", "--resume")
    first = dae_run(*command)
    assert first.returncode == 3, first.stderr
    assert "3 of 4 files denoised, 1 failed" in first.stdout
    complete = outputs(tmp_path / "out")
    (tmp_path / "out" / "0.png").write_bytes(complete["0.png"][:50])
    (tmp_path / "out" / "1.png").unlink()
    abandoned = tmp_path / "out" / f"{TEMPORARY_PREFIX}left.png"
    abandoned.touch()
    os.utime(abandoned, (0, 0))
    planned = dae_run("--dry-run", *command)
    marks = [line.partition("  (")[2].partition(":")[0] for line in planned.stdout.splitlines()]
    assert (planned.returncode, marks) == (0, ["exists", "", "already complete", "failed before"])
    second = dae_run(*command)
    assert re.search(r"^failed before: \S*/3\.png: .*no PNG", second.stderr, re.MULTILINE)
    assert "--retry-failed" in second.stderr
    assert "--retry-failed" not in dae_run("-q", *command).stderr
    assert second.returncode == 3
    assert "2 of 4 files denoised, 1 already complete, 1 failed" in second.stdout
    assert outputs(tmp_path / "out") == complete

    write_image(images / "3.png", Image(random_pixels((10, 12), seed=3)))
    third = dae_run(*command, "--retry-failed")
    assert third.returncode == 0
    assert "1 of 4 files denoised, 3 already complete, 0 failed" in third.stdout
    fourth = dae_run(*command)
    assert "0 of 4 files denoised, 4 already complete" in fourth.stdout


def test_outputs_of_another_model_or_strength_are_replaced_only_on_request(
    tmp_path, images, make_model, identity_kernel, blur_file, dae_run
):
    command = (images, tmp_path / "out", "--resume")
    assert dae_run("-m", blur_file, *command).returncode == 0
    complete = outputs(tmp_path / "out")
    (tmp_path / "out" / "2.png").unlink()
    (tmp_path / "identity.onnx").write_bytes(make_model(identity_kernel))
    for change, words in (
        (("-m", blur_file, "--strength", "0.5"), "strength 1 instead of 0.5"),
        (("-m", tmp_path / "identity.onnx"), "another model"),
    ):
        refused = dae_run(*change, *command)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert re.fullmatch(rf"error: 2 outputs .* {words}.*0\.png.*1\.png\. .*--overwrite.*\n", refused.stderr)
        planned = dae_run(*change, *command, "--dry-run")
        assert (planned.returncode, planned.stderr) == (1, refused.stderr)
        assert planned.stdout.count("another model or other settings: refused") == 2
        assert len(planned.stdout.splitlines()) == 3
    assert outputs(tmp_path / "out").items() <= complete.items()
    done = dae_run(*change, *command, "--overwrite")
    assert "3 of 3 files denoised, 0 failed" in done.stdout
    for path in images.iterdir():
        np.testing.assert_array_equal(read_image(tmp_path / "out" / path.name).pixels, read_image(path).pixels)


def test_resuming_without_a_manifest_replaces_nothing(tmp_path, images, blur_file, dae_run):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "1.png").write_text("another program's")
    result = dae_run("-m", blur_file, images, tmp_path / "out", "--resume")
    assert result.returncode == 1
    assert "--overwrite" in result.stderr
    assert "out/dae-manifest.jsonl, written by the run before, is missing" in result.stderr
    assert (tmp_path / "out" / "1.png").read_text() == "another program's"


def start(*arguments, **options):
    command = [sys.executable, "-m", "dae_runtime", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_run_is_resumed_to_the_same_outputs(tmp_path, blur_file, dae_run, kind):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for index in range(200):
        write_image(folder / f"{index}.png", Image(random_pixels((250, 300, 3), seed=index)))
    command = ("-m", blur_file, folder, out, "--resume", "--threads", "1")
    with start(*command) as process:
        wait_until(lambda: out.exists() and len(list(out.glob("[0-9]*.png"))) > 4)
        process.send_signal(kind)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == (-signal.SIGKILL if kind == signal.SIGKILL else 130)
    done = len(list(out.glob("[0-9]*.png")))
    assert done < 200
    if kind != signal.SIGKILL:
        assert b"interrupted" in errors
        assert b"Traceback" not in errors
        assert list(out.glob(f"{TEMPORARY_PREFIX}*")) == []
        assert (out / "dae-manifest.jsonl").read_bytes().count(b'"status": "done"') == done
    resumed = dae_run(*command)
    assert resumed.returncode == 0, resumed.stderr
    assert "already complete" in resumed.stdout
    whole = dae_run("-m", blur_file, folder, tmp_path / "whole")
    assert whole.returncode == 0
    assert outputs(out) == outputs(tmp_path / "whole")


def test_resuming_replaces_no_file_of_other_programs(tmp_path, images, blur_file, dae_run):
    out = tmp_path / "out"
    assert dae_run("-m", blur_file, images, out, "--resume").returncode == 0
    first = sorted(images.iterdir())[0]
    (images / "late.png").write_bytes(first.read_bytes())
    (out / "late.png").write_text("precious")
    write_image(out / first.name, Image(random_pixels((5, 6), seed=99)), overwrite=True)
    retouched = (out / first.name).read_bytes()
    plan = dae_run("-m", blur_file, images, out, "--resume", "--dry-run")
    assert plan.stdout.count("not written by the run before") == 1
    assert plan.stdout.count("changed since: kept") == 1
    result = dae_run("-m", blur_file, images, out, "--resume")
    assert result.returncode == plan.returncode == 1
    assert "1 file at output paths was not written by the run" in result.stderr
    assert "--overwrite" in result.stderr
    assert ((out / "late.png").read_text(), (out / first.name).read_bytes()) == ("precious", retouched)
    assert dae_run("-m", blur_file, images, out, "--resume", "--overwrite").returncode == 0
    assert (out / "late.png").read_bytes() == (out / first.name).read_bytes()


def test_the_same_command_again(tmp_path, images, blur_file, dae_run):
    out = tmp_path / "out"
    command = ("-m", blur_file, images, out)
    assert dae_run(*command).stderr == ""
    assert dae_run(*command).stderr == "3 kept from before, nothing to do\n"
    write_image(images / "late.png", Image(random_pixels((10, 12), seed=8)))
    write_image(out / "1.png", Image(random_pixels((5, 6), seed=9)))
    before = outputs(out)
    planned = dae_run(*command, "--dry-run")
    assert (planned.returncode, planned.stdout.count("already complete: kept")) == (0, 2)
    assert f"{out}/1.png  (complete, and changed since: kept without --overwrite)\n" in planned.stdout
    assert f"{out}/late.png\n" in planned.stdout
    again = dae_run(*command)
    assert again.returncode == 0
    assert again.stderr.splitlines() == [
        "3 kept from before, 1 to do",
        f"kept as changed since it was written: {out}/1.png (--overwrite replaces it)",
    ]
    assert "1 of 4 files denoised, 3 already complete, 0 failed" in again.stdout
    assert before.items() <= outputs(out).items()
    for extra in ((), ("--dry-run",)):
        other = dae_run(*command, "--strength", "0.5", *extra)
        assert other.returncode == 1
        assert len(other.stderr.splitlines()) == 1
        assert "strength 1 instead of 0.5" in other.stderr
        assert "--overwrite, or give another output" in other.stderr
    done = dae_run(*command, "--strength", "0.5", "--overwrite")
    assert (done.returncode, done.stderr) == (0, "")
    assert "4 of 4 files denoised, 0 failed" in done.stdout


def test_a_second_run_at_once_is_refused_in_one_line(tmp_path, blur_file, dae_run):
    folder, out = tmp_path / "in", tmp_path / "out"
    fill_with_links(folder)
    command = ("-m", blur_file, folder, out)
    with start(*command) as process:
        wait_until(lambda: len(list(out.glob("[0-9]*.png"))) > 4)
        second = dae_run(*command)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert second.returncode == 1
    assert re.fullmatch(r"error: another run is writing to \S*dae-manifest\.jsonl\. Wait for its end, .*\n", second.stderr)


def test_a_retouched_output_of_a_new_input_fails_alone(tmp_path, images, blur_file, dae_run):
    out = tmp_path / "out"
    command = ("-m", blur_file, images, out)
    assert dae_run(*command).returncode == 0
    for folder, seed in ((images, 5), (out, 6)):
        write_image(folder / "1.png", Image(random_pixels((4, 4), seed=seed)))
    write_image(images / "late.png", Image(random_pixels((10, 12), seed=8)))
    planned = dae_run(*command, "--dry-run")
    assert planned.returncode == 0
    assert f"{out}/1.png  (exists, changed since or another program's: fails without --overwrite)\n" in planned.stdout
    done = dae_run(*command)
    assert done.returncode == 3
    assert done.stderr.splitlines()[1].startswith(f"failed: {out}/1.png: was changed since it was written")
    assert "--overwrite" in done.stderr
    assert "1 of 4 files denoised, 2 already complete, 1 failed" in done.stdout
    assert (out / "late.png").exists()
