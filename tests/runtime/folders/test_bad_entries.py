"""One bad entry of a folder is one failed file with its reason; the rest is done. Also while watching."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders import random_pixels
from dae_runtime import Denoiser, FolderRequest, run_folder
from dae_runtime.images import Image, find_images, write_image
from dae_runtime.jobs.run import run_jobs
from dae_runtime.jobs.watch import HotFolder

BAD = {
    "itself.png": "Too many levels of symbolic links",
    "nowhere.png": "No such file",
    "pipe.png": "it is a pipe, not a regular file",
    "device.png": "it is a device, not a regular file",
    "endless.png": "it is a device, not a regular file",
    "beyond.png": "Not a directory",
    "text.png": "no PNG",
    "empty.png": "the file is empty",
}


def make_bad(folder: Path, name: str) -> None:
    """Make an entry that cannot be read as an image."""
    path = folder / name
    targets = {
        "itself.png": path.name,
        "nowhere.png": "nothing",
        "device.png": "/dev/null",
        "endless.png": "/dev/zero",
        "beyond.png": "text.png/x",
        "pipe.png": "hidden-pipe",
    }
    if name == "pipe.png":
        with contextlib.suppress(FileExistsError):
            os.mkfifo(folder / "hidden-pipe")
    if name == "beyond.png":
        (folder / "text.png").write_text("text")
    if name in targets:
        path.symlink_to(targets[name])
    else:
        path.write_text("text" if name == "text.png" else "")


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(bad=st.sets(st.sampled_from(sorted(BAD)), min_size=1), where=st.sampled_from(["", "sub", "sub/deep"]), data=st.data())
def test_the_rest_is_done(tmp_path_factory, blur, bad, where, data):
    root = tmp_path_factory.mktemp("bad")
    folder = root / "in" / where
    folder.mkdir(parents=True)
    for name in ("a.png", "z.png"):
        write_image(folder / name, Image(random_pixels((9, 8))))
    for name in sorted(bad):
        make_bad(folder, name)
    how = data.draw(st.sampled_from(["folder", "pattern", "resume", "watch"]))
    failures: dict[str, str]
    if how == "watch":
        hot = HotFolder(root / "in", root / "out", recursive=True)
        hot.look()
        results = list(run_jobs(blur, hot.look(), may_replace=hot.may_replace, protection=hot.protection))
        failures = {result.job.source.name: result.error for result in results if result.error}
    else:
        source = root / "in" / "**" / "*.png" if how == "pattern" else root / "in"
        request = FolderRequest(source, root / "out", recursive=True, resume=how == "resume")
        failures = {failure.source.name: failure.reason for failure in run_folder(request, blur).failures}
    assert {path.name for path in (root / "out").rglob("*.png")} == {"a.png", "z.png"}
    assert bad <= set(failures)
    for name in bad:
        assert BAD[name] in failures[name]


def test_a_link_to_itself_is_found_as_a_file_and_not_as_a_folder(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "loop.png").symlink_to("loop.png")
    for recursive in (False, True):
        assert [path.name for path in find_images(tmp_path, recursive)] == ["loop.png"]


# Root may read everything; without its capabilities it is bound by permissions like others (capset(2), version 3).
POWERLESS = """
import ctypes, sys
ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())
from dae_runtime import Denoiser, FolderRequest, run_folder
from dae_runtime.jobs.watch import HotFolder
from dae_runtime.jobs.run import run_jobs
how, source, output, model = sys.argv[1:]
with Denoiser(open(model, "rb").read(), "cpu", 1) as denoiser:
    if how == "watch":
        hot = HotFolder(source, output, recursive=True)
        hot.look()
        for result in run_jobs(denoiser, hot.look(), may_replace=hot.may_replace, protection=hot.protection):
            print(result.error or "done", result.job.source)
    else:
        pattern = source + "/**/*.png" if how == "pattern" else source
        outcome = run_folder(FolderRequest(pattern, output, recursive=True, resume=how == "resume"), denoiser)
        print("\\n".join(failure.reason for failure in outcome.failures), outcome.done)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["folder", "pattern", "resume", "watch"])
@pytest.mark.parametrize("mode", [0o000, 0o444, 0o111])
def test_folders_without_permission(tmp_path_factory, blur_bytes, how, mode):
    root = tmp_path_factory.mktemp("permission")
    for name in ("a.png", "locked/b.png", "open/c.png"):
        (root / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(root / "in" / name, Image(random_pixels((9, 8))))
    (root / "m.onnx").write_bytes(blur_bytes)
    (root / "in" / "locked").chmod(mode)
    command = [sys.executable, "-c", POWERLESS, how, str(root / "in"), str(root / "out"), str(root / "m.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    (root / "in" / "locked").chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (root / "out").rglob("*.png")) == ["a.png", "c.png"]
    if (how, mode) != ("pattern", 0o444):  # a pattern sees no files there, and no error
        assert "locked" in done.stdout
        assert "Permission denied" in done.stdout


def test_a_reference_folder_that_cannot_be_read_spares_the_rest(tmp_path, blur: Denoiser):
    for name in ("a.png", "sub/b.png"):
        for folder in ("in", "clean"):
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
            write_image(tmp_path / folder / name, Image(random_pixels((20, 20))))
    (tmp_path / "clean" / "sub" / "b.png").unlink()
    (tmp_path / "clean" / "sub").rmdir()
    (tmp_path / "clean" / "sub").symlink_to("sub")
    request = FolderRequest(tmp_path / "in", tmp_path / "out", recursive=True, reference=tmp_path / "clean")
    outcome = run_folder(request, blur)
    assert (outcome.done, outcome.compared, outcome.not_compared) == (2, 1, 1)
