"""No run replaces an input, or a file that it does not know to be its own, by whatever name and at whatever moment."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from builders import random_pixels, wait_until
from dae_runtime import DaeError, FolderRequest, ImageError, InputError, OutputExistsError, run_folder
from dae_runtime.folders import open_run, plan_request
from dae_runtime.images import Image, read_image, write_image
from dae_runtime.jobs.manifest import Manifest, Settings, read_manifest
from dae_runtime.jobs.plan import Job
from dae_runtime.jobs.run import run_jobs
from dae_runtime.jobs.watch import HotFolder


def fill(folder: Path, names: list[str], shape: tuple[int, ...] = (9, 8)) -> dict[str, bytes]:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(folder / name, Image(random_pixels(shape, seed=number)))
    return contents(folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextlib.contextmanager
def bind_mount(folder: Path, name: Path) -> Iterator[None]:
    name.mkdir(parents=True, exist_ok=True)
    if subprocess.run(["mount", "--bind", folder, name], capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount")
    try:
        yield
    finally:
        subprocess.run(["umount", name], check=True)


@contextlib.contextmanager
def second_name(how: str, folder: Path, name: Path) -> Iterator[None]:
    """Give a folder, or each of its files, another name."""
    if how == "bind mount":
        with bind_mount(folder, name):
            yield
        return
    if how == "link":
        name.symlink_to(folder)
    for path in folder.rglob("*") if how == "hard links" else ():
        if path.is_file():
            (name / path.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
            os.link(path, name / path.relative_to(folder))
    yield


@pytest.mark.parametrize("how", ["bind mount", "link", "hard links"])
@pytest.mark.parametrize("which", ["folder", "tree", "file", "pattern", "watch", "below"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_inputs_stay_under_every_name(tmp_path, denoiser, how, which, overwrite):
    before = fill(tmp_path / "in", ["a.png", "b.png", "sub/c.png"])
    source, output = tmp_path / "in", tmp_path / "out"
    with second_name(how, tmp_path / "in", tmp_path / "out"):
        if which == "watch":
            with contextlib.suppress(InputError):  # hard links are not seen in advance
                hot = HotFolder(source, output, recursive=True, overwrite=overwrite)
                hot.look()
                jobs = hot.look()
                results = run_jobs(denoiser, jobs, may_replace=hot.may_replace, protection=hot.protection)
                assert all(result.error is not None for result in results)
        else:
            source = {"file": source / "a.png", "pattern": source / "**" / "*.png"}.get(which, source)
            output = {"file": output / "a.png", "below": output / "new"}.get(which, output)
            request = FolderRequest(source, output, recursive=which in ("tree", "below"), overwrite=overwrite)
            if (how, which) == ("hard links", "below"):
                assert run_folder(request, denoiser).failed == 0
            else:
                with pytest.raises((InputError, OutputExistsError)):
                    run_folder(request, denoiser)
    assert contents(tmp_path / "in") == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_name_that_becomes_an_input_during_the_run(tmp_path, denoiser, overwrite):
    before = fill(tmp_path / "in", ["a.png", "b.png", "c.png"])

    def intrude(*_):
        (tmp_path / "out" / "c.png").unlink(missing_ok=True)
        os.link(tmp_path / "in" / "b.png", tmp_path / "out" / "c.png")

    request = FolderRequest(tmp_path / "in", tmp_path / "out", overwrite=overwrite, batch_size=1)
    plan = plan_request(request, lambda: denoiser.sources)
    (tmp_path / "out").mkdir()
    intrude()
    with open_run(plan, denoiser) as run:
        failed = [result.job.source.name for result in run.results() if result.error]
    assert failed == ["c.png"]
    assert contents(tmp_path / "in") == before
    assert (tmp_path / "in" / "b.png").samefile(tmp_path / "out" / "c.png")


@pytest.fixture
def folding_disk(tmp_path) -> Iterator[Path]:
    """A disk that folds case: vfat, ext4 with a folding folder, or NTFS in user space, which needs nothing of the kernel."""
    image, name = tmp_path / "disk.img", tmp_path / "disk"
    name.mkdir()
    with image.open("wb") as file:
        file.truncate(2**25)
    loop = ["mount", "-o", "loop", image, name]
    ways = (
        (["mkfs.vfat", image], loop),
        (["mkfs.ext4", "-q", "-O", "casefold", image], loop),
        (["mkntfs", "-q", "-F", image], ["lowntfs-3g", "-o", "ignore_case", image, name]),
    )
    for commands in ways:
        with contextlib.suppress(FileNotFoundError):
            if all(subprocess.run(command, capture_output=True, check=False).returncode == 0 for command in commands):
                break
    else:
        pytest.skip("no disk that folds case can be made or mounted here: apt-get install ntfs-3g")
    try:
        (name / "f").mkdir()
        subprocess.run(["chattr", "+F", name / "f"], capture_output=True, check=False)
        (name / "f" / "x").touch()
        if not (name / "f" / "X").exists():
            pytest.skip("the disk does not fold case")
        (name / "f" / "x").unlink()
        yield name / "f"
    finally:
        subprocess.run(["umount", name], check=True)


@pytest.mark.parametrize("overwrite", [False, True])
def test_on_a_disk_that_folds_case(tmp_path, folding_disk, denoiser, overwrite):
    before = fill(folding_disk / "in", ["a.png", "b.png"])
    with pytest.raises(InputError):
        run_folder(FolderRequest(folding_disk / "in", folding_disk / "IN", overwrite=overwrite), denoiser)
    with pytest.raises(InputError):
        run_folder(FolderRequest(folding_disk / "in" / "a.png", folding_disk / "IN" / "A.PNG", overwrite=overwrite), denoiser)
    with pytest.raises(InputError):
        HotFolder(folding_disk / "in", folding_disk / "In" / "out")
    assert contents(folding_disk / "in") == before
    fill(tmp_path / "two", ["a.png", "A.png", "b.png"])
    outcome = run_folder(FolderRequest(tmp_path / "two", folding_disk / "out", overwrite=overwrite), denoiser)
    assert (outcome.done, outcome.failed) == (2, 1)  # neither of the two replaces the other
    assert len(list((folding_disk / "out").glob("*.png"))) == 2


@pytest.mark.parametrize("flag", ["resume", "retry_failed"])
@pytest.mark.parametrize("when", ["planned", "begun", "during"])
@pytest.mark.parametrize("content", ["image", "text"])
def test_resuming_replaces_nothing_of_others(tmp_path, denoiser, flag, when, content):
    """A file put at an output after the plan, or by a kill between a line and the move, or while the run works."""
    fill(tmp_path / "in", ["a.png", "b.png", "c.png"])
    request = FolderRequest(tmp_path / "in", tmp_path / "out", batch_size=1, **{flag: True})
    if when == "begun":
        with Manifest(tmp_path / "out" / "dae-manifest.jsonl", Settings("0" * 64)) as manifest:
            job = Job(tmp_path / "in" / "c.png", tmp_path / "out" / "c.png")
            manifest.begin(job, (1, 1), "0" * 64)
    else:
        fill(tmp_path / "first", ["a.png"])
        run_folder(FolderRequest(tmp_path / "in" / "a.png", tmp_path / "out", **{flag: True}), denoiser)
    write_image(tmp_path / "mine.png", Image(random_pixels((5, 5))))
    mine = (tmp_path / "mine.png").read_bytes() if content == "image" or when == "begun" else b"precious"
    plan = plan_request(request, lambda: denoiser.sources)
    plan.check()
    if when != "during":
        (tmp_path / "out" / "c.png").write_bytes(mine)
    failed = []
    with open_run(plan, denoiser) as run:
        for result in run.results():
            failed += [result.job.source.name] if result.error else []
            if when == "during" and not (tmp_path / "out" / "c.png").exists():
                (tmp_path / "out" / "c.png").write_bytes(mine)
    if failed:
        assert failed == ["c.png"]
        assert (tmp_path / "out" / "c.png").read_bytes() == mine
    else:
        assert when == "during"  # it was done before


def test_a_report_that_comes_during_the_run_stays(tmp_path, denoiser):
    fill(tmp_path / "in", ["a.png"])
    report = tmp_path / "r.html"
    for extra in ({}, {"resume": True}):
        report.unlink(missing_ok=True)
        request = FolderRequest(tmp_path / "in", tmp_path / f"out{len(extra)}", report=report, **extra)
        with pytest.raises(OutputExistsError, match="was created during the run"):
            run_folder(request, denoiser, progress=lambda *_: report.write_text("mine"))
        assert report.read_text() == "mine"


def test_two_runs_do_not_share_a_manifest(tmp_path, denoiser):
    fill(tmp_path / "in", [f"{number}.png" for number in range(6)])
    request = FolderRequest(tmp_path / "in", tmp_path / "out", resume=True, batch_size=1)
    refused: list[DaeError] = []

    def second(*_):
        try:
            run_folder(request, denoiser)
        except DaeError as error:
            refused.append(error)

    outcome = run_folder(request, denoiser, progress=second)
    assert (outcome.done, outcome.failed, len(refused)) == (6, 0, 6)
    assert all("another run is writing to" in str(error) or "not written by the run" in str(error) for error in refused)
    assert len(read_manifest(outcome.manifest)) == 6


def test_a_plan_that_another_run_has_overtaken(tmp_path, denoiser):
    fill(tmp_path / "in", ["a.png", "b.png"])
    request = FolderRequest(tmp_path / "in", tmp_path / "out", resume=True)
    plan = plan_request(request, lambda: denoiser.sources)
    plan.check()
    assert run_folder(request, denoiser).done == 2
    before = contents(tmp_path / "out")
    with pytest.raises(DaeError, match=r"another run has written to .* Start this one again"), open_run(plan, denoiser):
        pass
    assert contents(tmp_path / "out") == before


def test_a_run_without_resume_that_is_cut_off_goes_on(tmp_path, denoiser):
    fill(tmp_path / "in", [f"{number:02}.png" for number in range(40)], (200, 200, 3))
    request, cancel = FolderRequest(tmp_path / "in", tmp_path / "out"), threading.Event()
    first = run_folder(request, denoiser, progress=lambda *_: cancel.set(), cancel=cancel.is_set)
    assert 0 < first.done < 40
    made = {name: data for name, data in contents(tmp_path / "out").items() if name.endswith(".png")}
    (tmp_path / "out" / "39.png").write_bytes(b"precious")
    with pytest.raises(OutputExistsError, match=r"39\.png"):
        run_folder(request, denoiser)
    (tmp_path / "out" / "39.png").unlink()
    second = run_folder(request, denoiser)
    assert (second.done, second.skipped, second.failed) == (40 - first.done, first.done, 0)
    assert made.items() <= contents(tmp_path / "out").items()
    run_folder(FolderRequest(tmp_path / "in", tmp_path / "whole"), denoiser)
    assert {path.name for path in (tmp_path / "whole").iterdir()} == {path.name for path in (tmp_path / "out").iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_without_resume_goes_on(tmp_path, blur_file, dae_run, kill):
    fill(tmp_path / "in", [f"{number:02}.png" for number in range(40)], (300, 300, 3))
    command = [*map(str, (sys.executable, "-m", "dae_runtime", "-m", blur_file, tmp_path / "in", tmp_path / "out"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        wait_until(lambda: len(list((tmp_path / "out").glob("[0-9]*.png"))) > 3)
        process.send_signal(kill)
        process.communicate(timeout=60)
    done = dae_run(*command[3:])
    assert done.returncode == 0, done.stderr
    assert "already complete" in done.stdout
    assert len(list((tmp_path / "out").glob("[0-9]*.png"))) == 40


def test_an_empty_output_is_refused(tmp_path, denoiser, monkeypatch):
    fill(tmp_path / "in", ["a.png", "b.png"])
    monkeypatch.chdir(tmp_path)
    for name in ("", "a\0b"):
        with pytest.raises(InputError, match="path"):
            FolderRequest(tmp_path / "in", name)
        with pytest.raises((InputError, ImageError), match="path"):
            HotFolder(tmp_path / "in", name)
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".png"] == []


def test_only_whole_images_are_left(tmp_path, denoiser):
    fill(tmp_path / "in", ["a.png", "b.jpg"], (30, 40, 3))
    run_folder(FolderRequest(tmp_path / "in", tmp_path / "out"), denoiser)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "b.jpg", "dae-manifest.jsonl"]
    for path in (tmp_path / "out").glob("?.*"):
        assert read_image(path).pixels.shape == (30, 40, 3)
