"""Shards of a folder run as processes: at once, killed, and run again."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from builders import random_pixels, wait_until
from dae_runtime.images import Image, write_image

pytestmark = pytest.mark.slow
FILES = 60
SHARDS = 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for number in range(FILES):
        write_image(tmp_path / "in" / f"{number}.png", Image(random_pixels((200, 300, 3), seed=number)))
    return tmp_path / "in"


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "dae_runtime", "--threads", "1", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def outputs(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.suffix != ".jsonl"}


def test_shards_at_once_of_which_one_is_killed(tmp_path, folder, blur_file, dae_run):
    out = tmp_path / "out"
    command = ("-m", blur_file, folder, out)
    processes = [start(*command, "--shard", f"{index}/{SHARDS}") for index in range(1, SHARDS + 1)]
    notes = out / "dae-manifest.shards" / f"1-of-{SHARDS}.jsonl"
    wait_until(lambda: notes.exists() and b'"done"' in notes.read_bytes())
    processes[0].send_signal(signal.SIGKILL)
    said = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes[1:]] == [0, 0], said
    again = dae_run(*command, "--shard", f"1/{SHARDS}")
    assert again.returncode == 0, again.stderr
    assert " kept from before, " in again.stderr
    assert dae_run("-m", blur_file, folder, tmp_path / "whole").returncode == 0
    assert outputs(out) == outputs(tmp_path / "whole")
    refused = dae_run(*command)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"a run in {SHARDS} shards" in refused.stderr
    merged = dae_run("--merge-manifests", out)
    assert merged.stdout == f"{out}/dae-manifest.jsonl: {SHARDS} manifests of shards merged into it\n"
    assert f"0 of {FILES} files denoised, {FILES} already complete" in dae_run(*command).stdout


def test_a_list_from_standard_input_and_what_is_refused(tmp_path, folder, blur_file, dae_run):
    command = ("-m", blur_file, folder, tmp_path / "out")
    listed = dae_run(*command, "--files-from", "-", "--dry-run", input="3.png\n7.png\n")
    assert listed.stdout == "".join(f"{folder}/{name}.png -> {tmp_path}/out/{name}.png\n" for name in (3, 7))
    missing = dae_run(*command, "--files-from", "-", input="3.png\nnone.png\n")
    assert missing.returncode == 3
    assert f"failed: {folder}/none.png: cannot be read: No such file or directory.\n" in missing.stderr
    for extra, words in (
        (("--shard", "0/3"), "a shard is I/N with I from 1 to N"),
        (("--shard", "1/3", "--watch"), "--shard cannot be used with --watch"),
        (("--files-from", "x", "--watch"), "--files-from cannot be used with --watch"),
        (("--files-from", tmp_path / "none"), "the list .* cannot be read: No such file"),
    ):
        refused = dae_run(*command, *extra)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert words.partition(" .* ")[0] in refused.stderr
    assert "has no manifest" in dae_run("--merge-manifests", folder).stderr
    assert "exclude each other" in dae_run("--merge-manifests", folder, "--doctor").stderr
