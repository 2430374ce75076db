from __future__ import annotations

import os

import pytest

from dae_runtime import InputError
from dae_runtime.jobs.local import file_stamp
from dae_runtime.jobs.watch import HotFolder
from dae_runtime.jobs.worker import FileResult


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def names(jobs):
    return [(job.source.name, job.destination.name) for job in jobs]


def make(hot, job, content=b"made"):
    """Write the output of a job."""
    job.destination.parent.mkdir(exist_ok=True)
    job.destination.write_bytes(content)
    hot.note(FileResult(job, None, 0.1, output_stamp=file_stamp(job.destination)))


def change(hot, path, number):
    """Write a file, and return the jobs found once it is complete."""
    os.utime(path, ns=(number, number))
    assert hot.look() == []
    return hot.look()


def test_a_file_is_taken_once_when_it_has_stopped_growing(tmp_path, folder):
    hot = HotFolder(folder, tmp_path / "out", suffix="_x")
    assert hot.look() == []
    (folder / "a.png").write_bytes(b"1")
    assert hot.look() == []
    (folder / "a.png").write_bytes(b"12")
    assert hot.look() == []
    assert names(hot.look()) == [("a.png", "a_x.png")]
    assert hot.look() == []


def test_a_file_that_changes_later_is_taken_again(tmp_path, folder):
    hot = HotFolder(folder, tmp_path / "out")
    (folder / "a.png").write_bytes(b"1")
    hot.look()
    (job,) = hot.look()
    assert not hot.may_replace(job)
    make(hot, job)
    assert change(hot, folder / "a.png", 5) == [job]
    assert hot.may_replace(job)
    (folder / "a.png").unlink()
    assert hot.look() == []


def test_inputs_that_have_an_output_already_are_done(tmp_path, folder):
    (tmp_path / "out").mkdir()
    for name in ("a.png", "b.png"):
        (folder / name).touch()
    (tmp_path / "out" / "a.png").touch()
    for overwrite, expected in ((False, ["b.png"]), (True, ["a.png", "b.png"])):
        hot = HotFolder(folder, tmp_path / "out", overwrite=overwrite)
        hot.look()
        assert [job.source.name for job in hot.look()] == expected


def test_two_inputs_never_share_an_output(tmp_path, folder, caplog):
    for name in ("a.jpg", "a.png"):
        (folder / name).touch()
    hot = HotFolder(folder, tmp_path / "out", format="png")
    hot.look()
    assert names(hot.look()) == [("a.jpg", "a.png")]
    assert "is the output of" in caplog.text


def test_what_is_forgotten_with_the_file(tmp_path, folder):
    hot = HotFolder(folder, tmp_path / "out")
    for index in range(20):
        path = folder / f"{index}.png"
        path.touch()
        hot.look()
        assert len(hot.look()) == 1
        path.unlink()
    hot.look()
    assert {**hot._seen, **hot._taken, **hot._owners, **hot._written} == {}


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_output_that_others_have_changed_stays(tmp_path, folder, caplog, overwrite):
    (folder / "a.png").touch()
    hot = HotFolder(folder, tmp_path / "out", overwrite=overwrite)
    hot.look()
    (job,) = hot.look()
    make(hot, job)
    job.destination.write_bytes(b"retouched by hand")
    assert hot.may_replace(job) == overwrite
    assert change(hot, folder / "a.png", 5) == ([job] if overwrite else [])
    assert caplog.text.count("a.png was written or changed by another program") == (0 if overwrite else 1)
    hot.look()
    assert caplog.text.count("a.png was written or changed by another program") == (0 if overwrite else 1)
    job.destination.unlink()
    assert change(hot, folder / "a.png", 6) == [job]


def test_a_file_that_others_put_where_an_input_failed_stays(tmp_path, folder):
    (folder / "a.png").touch()
    hot = HotFolder(folder, tmp_path / "out")
    hot.look()
    (job,) = hot.look()
    hot.note(FileResult(job, "it is no image", 0.1))
    (tmp_path / "out").mkdir()
    job.destination.write_bytes(b"precious")
    assert change(hot, folder / "a.png", 5) == []


def test_a_failure_does_not_disown_the_output_before_it(tmp_path, folder):
    (folder / "a.png").touch()
    hot = HotFolder(folder, tmp_path / "out")
    hot.look()
    (job,) = hot.look()
    make(hot, job)
    hot.note(FileResult(job, "it is no image", 0.1))
    assert change(hot, folder / "a.png", 5) == [job]
    assert hot.may_replace(job)


def test_folders_that_cannot_be_watched(tmp_path, folder):
    for source, output, words in ((tmp_path / "none", "out", "not a folder"), (folder, folder / "sub", "inside the input")):
        with pytest.raises(InputError, match=words):
            HotFolder(source, output)
    with pytest.raises(InputError, match="suffix"):
        HotFolder(folder, tmp_path / "out", suffix="a/b")
