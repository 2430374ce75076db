from __future__ import annotations

import os

import pytest

from dae_runtime import InputError
from dae_runtime.watch import HotFolder


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def names(jobs):
    return [(job.source.name, job.destination.name) for job in jobs]


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
    assert len(hot.look()) == 1
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").touch()  # what the job made
    os.utime(folder / "a.png", ns=(5, 5))
    hot.look()
    assert len(hot.look()) == 1
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
    assert {**hot._seen, **hot._taken, **hot._owners} == {}


def test_folders_that_cannot_be_watched(tmp_path, folder):
    for source, output, words in ((tmp_path / "none", "out", "not a folder"), (folder, folder / "sub", "inside the input")):
        with pytest.raises(InputError, match=words):
            HotFolder(source, output)
