"""Folder runs on a cluster: what one process does, byte for byte."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from builders import random_pixels
from dae_runtime import Denoiser, FolderRequest, InputError, run_folder
from dae_runtime.images import Image, write_image
from dae_runtime.jobs.cluster import Cluster
from dae_runtime.jobs.manifest import read_manifest

pytestmark = pytest.mark.slow


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.suffix == ".png"}


def entries(folder: Path) -> dict[str, tuple[object, ...]]:
    """Return what a manifest says of each file, but for its times."""
    found = read_manifest(folder / "dae-manifest.jsonl")
    return {
        Path(name).relative_to(folder).as_posix(): (
            *(entry.path, entry.status, entry.error, entry.source_bytes, entry.source_mtime_ns, entry.output_sha256),
            *(entry.settings, entry.level, entry.lost, entry.output_mark),
        )
        for name, entry in found.items()
    }


def summary(words: str) -> str:
    return re.sub(r"in [\d.]+ s", "in T s", words)


def test_outputs_messages_and_manifest_are_those_of_one_process(folder, run_on, dae_run):
    (folder / "in" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    write_image(folder / "in" / "sub" / "deep.png", Image(random_pixels((40, 30, 3), seed=9)))
    here = dae_run("-m", "blur.onnx", "in", "alone", "-r", cwd=folder)
    code, out, err = run_on()
    assert (code, summary(out), err) == (here.returncode, summary(here.stdout), here.stderr)
    assert code == 3
    assert "failed: in/bad.png: " in err
    assert contents(folder / "out") == contents(folder / "alone")
    assert len(contents(folder / "out")) == 25
    made, expected = entries(folder / "out"), entries(folder / "alone")
    failed = made.pop("bad.png")
    expected.pop("bad.png", None)  # a failure before the first output is not recorded
    assert failed[1:3] == ("failed", re.search("failed: (.*)", err)[1])
    assert made == expected
    assert not list((folder / "out").rglob(".dae-tmp-*"))
    lines = (folder / "out" / "dae-manifest.jsonl").read_bytes().splitlines()
    assert len(lines) == 2 * 26

    (folder / "in" / "new.png").write_bytes((folder / "in" / "00.png").read_bytes())
    (folder / "in" / "bad.png").unlink()
    before = {path: path.stat().st_mtime_ns for path in (folder / "out").rglob("*.png")}
    code, out, err = run_on()
    assert (code, summary(out)) == (0, "1 of 26 files denoised, 25 already complete, 0 failed, in T s on cpu with tiny\n"), err
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert dae_run("-m", "blur.onnx", "in", "out", "-r", cwd=folder).stdout.startswith("0 of 26 files denoised, 26 already")


def test_a_run_that_stops_at_the_first_failure_is_continued(folder, run_on):
    (folder / "in" / "00-bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    code, out, err = run_on("in", "out", "-r", "--fail-fast", "-b", "1")
    assert code == 3, err
    assert " of 25 files denoised, 1 failed" in out
    (folder / "in" / "00-bad.png").unlink()
    code, _, err = run_on("in", "out", "-r", "--fail-fast", "-b", "1")
    assert code == 0, err
    assert contents(folder / "out").keys() == contents(folder / "in").keys()


def test_references_reports_and_the_default_models_are_as_in_one_process(folder, run_on, dae_run, cluster):
    (folder / "few").mkdir()
    (folder / "clean").mkdir()
    for name, shape in (("gray.png", (64, 72)), ("color.png", (64, 72, 3))):
        write_image(folder / "few" / name, Image(random_pixels(shape, seed=3)))
        write_image(folder / "clean" / name, Image(random_pixels(shape, seed=4)))
    options = ("few", "--reference", "clean", "--strength", "0.5", "-m", "default")
    here = dae_run(*options, "alone", cwd=folder)
    code, out, err = run_on(*options, "out", "--report", "report.html")
    assert (code, summary(out), sorted(err.splitlines())) == (0, summary(here.stdout), sorted(here.stderr.splitlines()))
    assert contents(folder / "out") == contents(folder / "alone")
    assert "color.png" in (folder / "report.html").read_text()


def test_a_store_is_read_and_written_by_the_workers(moto, folder, run_on, dae_run):
    for path in (folder / "in").rglob("*.png"):
        moto.put(f"in/{path.relative_to(folder / 'in')}", path.read_bytes())
    moto.put("in/bad.png", b"\x89PNG\r\n\x1a\n")
    line = (f"{moto.url}/in", f"{moto.url}/out", "-r")
    code, out, err = run_on(*line)
    assert code == 3, err
    assert "24 of 25 files denoised, 1 failed" in out
    assert dae_run("-m", "blur.onnx", "in", "alone", "-r", cwd=folder).returncode == 0
    assert moto.objects("out") == contents(folder / "alone")
    again = dae_run("-m", "blur.onnx", *line, cwd=folder, env={**os.environ, **moto.environment})
    assert "0 of 25 files denoised, 24 already complete, 1 failed" in again.stdout


def test_a_program_uses_a_cluster_of_its_own(folder, run_python, cluster):
    code = """
import json, sys
from dae_runtime import Denoiser, FolderRequest, run_folder
from dae_runtime.jobs.cluster import Cluster
seen = []
with Denoiser("blur.onnx", "cpu", 1) as denoiser:
    request = FolderRequest("in", "out", recursive=True)
    outcome = run_folder(request, denoiser, cluster=Cluster("local", workers=1), progress=lambda *n: seen.append(n))
    once_more = run_folder(request, denoiser, cluster=Cluster("local", workers=1))
print(json.dumps([outcome.done, outcome.models, outcome.device, seen[-1], once_more.skipped]))
"""
    home = folder / "home"
    home.mkdir()
    done = run_python("-c", code, cwd=folder, env={**os.environ, "HOME": str(home)})
    assert json.loads(done.stdout) == [24, ["tiny"], "cpu", [24, 24], 24], done.stderr
    assert done.stderr == ""
    assert list(home.iterdir()) == []  # no token is left
    with Denoiser(folder / "blur.onnx", "cpu", 1) as denoiser:
        run_folder(FolderRequest(folder / "in", folder / "alone", recursive=True), denoiser)
    assert contents(folder / "out") == contents(folder / "alone")


def test_what_a_cluster_cannot_do_is_refused_at_once(folder, dae_run, tmp_path):
    def refused(*arguments: str, **options: object) -> tuple[int, str]:
        done = dae_run(*arguments, cwd=folder, **options)
        return done.returncode, done.stderr.strip().splitlines()[-1]

    for line, words in (
        (("in", "out", "--cluster", "ray://host:10001"), "The Ray client (ray://) is not supported"),
        (("in", "out", "--cluster", "auto", "--max-memory-mb", "500"), "--max-memory-mb is of one process"),
        (("in", "out", "--cluster", "auto", "--watch"), "--cluster cannot be used with --watch"),
        (("in/00.png", "-", "--cluster", "auto"), "--cluster cannot be used with standard input or output"),
        (("--raw", "8x8x1", "--cluster", "auto"), "--cluster cannot be used with --raw"),
        (("in", "out", "--cluster-workers", "2"), "--cluster-workers cannot be used with no --cluster"),
    ):
        code, said = refused(*line)
        assert (code, words in said) == (2, True), said
    (tmp_path / "no" / "ray").mkdir(parents=True)
    (tmp_path / "no" / "ray" / "__init__.py").write_text("raise ImportError('none')")
    path = os.pathsep.join([str(tmp_path / "no"), os.environ.get("PYTHONPATH", "")])
    code, said = refused("in", "out", "--cluster", "local", env={**os.environ, "PYTHONPATH": path})
    assert (code, "--cluster needs the package ray: the extra `ray` is not installed (pip install '.[ray]'" in said) == (
        1,
        True,
    )
    assert not (folder / "out").exists()


def test_ray_is_loaded_for_clusters_only(run_python):
    code = "import sys, dae_runtime.cli, dae_runtime.folders.run; print('ray' in sys.modules)"
    assert run_python("-c", code).stdout == "False\n"


@pytest.mark.parametrize(
    "values",
    [
        {"address": ""},
        {"address": 3},
        {"address": "ray://a:1"},
        {"workers": 0},
        {"threads": 0},
        {"gpus_per_worker": -1},
        {"gpus_per_worker": float("nan")},
        {"patience_s": "long"},
    ],
)
def test_a_cluster_checks_its_values(values):
    with pytest.raises(InputError):
        Cluster(**values)
