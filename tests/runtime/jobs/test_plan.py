from __future__ import annotations

import os
import pathlib
import tracemalloc
from pathlib import Path

import pytest

from dae_runtime.errors import ImageError, InputError, OutputExistsError
from dae_runtime.jobs.plan import plan, plan_folder
from dae_runtime.jobs.protection import Protection


@pytest.fixture
def tree(tmp_path, monkeypatch):
    for name in ("a.png", "b.jpg", "notes.txt", "sub/c.png", "sub/deep/d.tif"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pairs(*arguments, **options):
    return [(os.fspath(job.source), os.fspath(job.destination)) for job in plan(*arguments, **options)]


def test_a_folder(tree):
    assert pairs("in", "out") == [("in/a.png", "out/a.png"), ("in/b.jpg", "out/b.jpg")]


def test_a_tree_is_mirrored(tree):
    assert pairs("in", "out", recursive=True) == [
        ("in/a.png", "out/a.png"),
        ("in/b.jpg", "out/b.jpg"),
        ("in/sub/c.png", "out/sub/c.png"),
        ("in/sub/deep/d.tif", "out/sub/deep/d.tif"),
    ]


def test_suffix_and_format(tree):
    expected = [("in/a.png", "out/a_x.webp"), ("in/b.jpg", "out/b_x.webp")]
    for format in ("webp", ".WEBP"):
        assert pairs("in", "out", suffix="_x", format=format) == expected


@pytest.mark.parametrize(
    ("output", "destination"),
    [
        ("x.png", "x.png"),
        ("x", "x/a.png"),
        ("x/y.jpg", "x/y.jpg"),
        ("in/z.png", "in/z.png"),
        ("x.png/", "x.png/a.png"),
        ("v.2/", "v.2/a.png"),
        ("v.1", "v.1/a.png"),
    ],
)
def test_a_single_file(tree, output, destination):
    (tree / "v.1").mkdir()
    assert pairs("in/a.png", output) == [("in/a.png", destination)]


def test_a_single_file_beside_itself(tree):
    assert pairs("in/a.png", "in", suffix="_x") == [("in/a.png", "in/a_x.png")]


def test_patterns(tree):
    assert pairs("in/*.png", "out") == [("in/a.png", "out/a.png")]
    assert pairs("in/**/*.png", "out") == [("in/a.png", "out/a.png"), ("in/sub/c.png", "out/sub/c.png")]
    assert pairs("*/sub/c.*", "out") == [("in/sub/c.png", "out/in/sub/c.png")]
    assert pairs("in/*.png", "in/new") == [("in/a.png", "in/new/a.png")]
    assert pairs(f"{tree}/in/?.png", "out") == [(f"{tree}/in/a.png", "out/a.png")]


def test_a_file_with_wildcards_in_its_name_is_itself(tree):
    (tree / "in" / "[a].png").touch()
    assert pairs("in/[a].png", "out") == [("in/[a].png", "out/[a].png")]


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        (("none", "out"), {}, "does not exist"),
        (("in/*.gif", "out"), {}, "no image file"),
        (("empty", "out"), {}, "--recursive"),
        (("in", "in"), {}, "is the input folder"),
        (("in", "./in/../in"), {}, "is the input folder"),
        (("in", "in/sub"), {}, "inside the input folder"),
        (("in", "in/new"), {"recursive": True}, "inside the input folder"),
        (("in/*.png", "in"), {}, "is the input folder"),
        (("in/**/*.png", "in/new"), {}, "inside the input folder"),
        (("in", "in/a.png"), {}, "inside the input folder"),
        (("in", "file"), {}, "is a file"),
        (("in/a.png", "in/a.png"), {}, "also an input"),
        (("in/a.png", "in"), {}, "also an input"),
        (("in/a.png", "link.png"), {}, "also an input"),
        (("twins", "out"), {"format": "png"}, "have the same output"),
        (("in/a.png", "x.gif"), {}, r"neither an image file.*\.png.*nor a folder.*ends in /"),
        (("in/a.png", "z.xyz"), {}, r"z\.xyz is neither an image file.*\.png.*nor a folder"),
        (("in/a.png", "file/x.png"), {}, "file is a file"),
        (("in/a.png", "file"), {}, "file is a file"),
        (("in", "x.png"), {}, "give x.png/"),
        (("in/*.png", "file/out"), {}, "file is a file"),
        (("in/a.png", "x.png"), {"format": "jpg"}, "leave them out"),
        (("in/notes.txt", "out"), {}, "no output.*txt"),
        (("in", "out"), {"format": "gif"}, "'gif'"),
        (("in", "out"), {"reference": "none"}, "reference none"),
    ],
)
def test_refusals_before_the_first_image(tree, arguments, options, words):
    (tree / "empty").mkdir()
    (tree / "file").touch()
    (tree / "link.png").symlink_to("in/a.png")
    (tree / "twins").mkdir()
    for name in ("a.png", "a.jpg"):
        (tree / "twins" / name).touch()
    with pytest.raises(InputError, match=words):
        plan(*arguments, overwrite=True, **options)


def test_outputs_that_exist(tree):
    (tree / "out").mkdir()
    (tree / "out" / "b.jpg").touch()
    with pytest.raises(OutputExistsError, match=r"1 output exists already: out/b\.jpg\. Give --overwrite"):
        plan("in", "out")
    assert len(plan("in", "out", overwrite=True)) == 2
    for index in range(9):
        (tree / "in" / f"{index}.png").touch()
        (tree / "out" / f"{index}.png").touch()
    with pytest.raises(OutputExistsError, match=r"10 outputs exist already: out/0\.png.*out/4\.png, and 5 more\."):
        plan("in", "out")


def test_a_folder_may_be_named_like_a_file(tree):
    assert pairs("in", "x.png/")[0] == ("in/a.png", "x.png/a.png")
    assert pairs("in", "2024.05")[0] == ("in/a.png", "2024.05/a.png")


@pytest.mark.parametrize(
    ("output", "words"), [("locked", "cannot be written to"), ("locked/new/sub", "cannot be created in locked")]
)
@pytest.mark.parametrize("source", ["in", "in/a.png"])
def test_an_output_folder_without_rights(tree, monkeypatch, source, output, words):
    (tree / "locked").mkdir()
    access = os.access  # root may write everywhere, so the answer of the system is given here
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "locked" and access(path, mode))
    with pytest.raises(ImageError, match=words):
        plan(source, output, overwrite=True)
    assert list((tree / "locked").iterdir()) == []


def test_a_tree_of_outputs_with_a_file_in_the_way(tree):
    (tree / "out").mkdir()
    (tree / "out" / "sub").touch()
    with pytest.raises(InputError, match=r"out/sub(/deep)? cannot be created: out/sub is a file"):
        plan("in", "out", recursive=True)
    assert len(plan("in", "out")) == 2


def test_references(tree):
    for name in ("a.png", "b.tif", "sub/c.webp", "sub/c.png"):
        path = tree / "clean" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    jobs = plan("in", "out", recursive=True, reference="clean")
    found = [job.reference and os.fspath(job.reference) for job in jobs]
    assert found == ["clean/a.png", "clean/b.tif", "clean/sub/c.png", None]
    assert os.fspath(plan("in/a.png", "o", reference="clean/b.tif")[0].reference) == "clean/b.tif"


@pytest.mark.parametrize(
    ("source", "output", "reference"),
    [("in", "clean", "clean"), ("in/a.png", "clean/a.png", "clean/a.png"), ("in/a.png", "link/a.png", "clean")],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_reference_is_never_an_output(tree, source, output, reference, overwrite):
    (tree / "clean").mkdir()
    (tree / "clean" / "a.png").touch()
    (tree / "link").symlink_to("clean")
    with pytest.raises(InputError, match=r"the output (clean|link)/a\.png is also a reference.*give another output"):
        plan(source, output, reference=reference, overwrite=overwrite)


def test_a_suffix_with_a_path_separator_is_refused(tree):
    for suffix in ("a/b", "/../x", "\0"):
        with pytest.raises(InputError, match="without path separators"):
            plan_folder("in", "out", suffix=suffix)
        with pytest.raises(InputError, match="without path separators"):
            plan("in", "out", suffix=suffix)


def test_very_many_files_take_little_memory(tmp_path):
    """Of a job some 200 bytes stay, and of the checks nothing."""
    count, folder = 4000, tmp_path / "in" / "a folder of a long name, as cameras and photographers make them"
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"IMG_{number:05}.JPG").touch()
    plan(tmp_path / "in", tmp_path / "out", recursive=True)  # loads what is loaded once
    tracemalloc.start()
    try:
        jobs = plan(tmp_path / "in", tmp_path / "out", recursive=True)
        protection = Protection(jobs)
        taken = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(False, pathlib.__file__)])  # its table of names
    finally:
        tracemalloc.stop()
    assert len(jobs) == count
    protection.check(jobs[0])
    assert sum(trace.size for trace in taken.statistics("filename")) < 300 * count
