from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time

import pytest

from dae_runtime.system import moves
from dae_runtime.system.atomic import TEMPORARY_PREFIX, UNTOUCHED_S, atomic_path, remove_unfinished, write_atomic


def test_a_file_is_written_whole_with_the_usual_permissions(tmp_path):
    path = tmp_path / "a.bin"
    write_atomic(path, b"new")
    (tmp_path / "plain").write_bytes(b"")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    write_atomic(path, b"newer")
    assert path.read_bytes() == b"newer"


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def fail():
        with atomic_path(path) as temporary:
            temporary.write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def be_poor(monkeypatch, system):
    """Take away what a system has to move files: of renames with flags, links and plain renames, those named stay."""
    if "flags" not in system:
        monkeypatch.setattr(moves, "_renameat2", lambda: None)
    if "links" not in system:

        def refuse(*_):
            raise PermissionError

        monkeypatch.setattr(moves.os, "link", refuse)


SYSTEMS = pytest.mark.parametrize("system", ["flags links", "flags", "links", ""])


@SYSTEMS
def test_without_overwriting_an_existing_file_stays(tmp_path, monkeypatch, system):
    be_poor(monkeypatch, system)
    path = tmp_path / "a.bin"
    write_atomic(path, b"old", overwrite=False)
    with pytest.raises(FileExistsError):
        write_atomic(path, b"new", overwrite=False)
    assert path.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


@SYSTEMS
def test_a_file_is_replaced_if_the_answer_is_yes(tmp_path, monkeypatch, system):
    be_poor(monkeypatch, system)
    path, asked = tmp_path / "a.bin", []

    def answer(value):
        return lambda: asked.append(path.read_bytes()) or value

    write_atomic(path, b"first", overwrite=answer(False))
    assert asked == []  # no file, no question
    write_atomic(path, b"second", overwrite=answer(True))
    with pytest.raises(FileExistsError):
        write_atomic(path, b"third", overwrite=answer(False))
    assert (path.read_bytes(), asked) == (b"second", [b"first", b"second"])
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("before", [b"old", None])
@pytest.mark.parametrize("how", ["rewrite", "rename", "link"])
def test_a_file_that_comes_at_the_last_moment_stays(tmp_path, before, how):
    """Whatever happens after the answer, and before the move."""
    path, other = tmp_path / "a.bin", tmp_path / "other"
    other.write_bytes(b"precious")

    def intrude(*_):
        if how == "rewrite":
            path.write_bytes(b"precious")
        elif how == "rename":
            other.replace(path)
        else:
            path.unlink(missing_ok=True)
            path.symlink_to(other)
        return True

    if before is None:
        overwrite, before_move = False, intrude
    else:
        path.write_bytes(before)
        overwrite, before_move = intrude, None
    with (
        pytest.raises(FileExistsError),
        atomic_path(path, overwrite=overwrite, before_move=before_move) as temporary,
    ):
        temporary.write_bytes(b"ours")
    assert path.read_bytes() == b"precious"
    assert {path.name for path in tmp_path.iterdir()} <= {"a.bin", "other"}


def test_a_folder_is_not_replaced(tmp_path):
    for overwrite in (True, False, lambda: True):
        (tmp_path / "a.bin").mkdir(exist_ok=True)
        with pytest.raises(OSError, match=r"a\.bin"):
            write_atomic(tmp_path / "a.bin", b"ours", overwrite=overwrite)
        assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_a_long_suffix_makes_no_name_too_long(tmp_path):
    path = tmp_path / f"a.{'b' * 250}"
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_killed_process_leaves_no_part_under_the_final_name(tmp_path):
    code = (
        "import sys, time; from dae_runtime.system.atomic import atomic_path\n"
        "with atomic_path(sys.argv[1]) as path:\n"
        "    path.write_bytes(b'half'); print('written', flush=True); time.sleep(60)"
    )
    path = tmp_path / "a.bin"
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"written\n"
        process.send_signal(signal.SIGKILL)
    assert not path.exists()
    assert all(path.name.startswith(TEMPORARY_PREFIX) for path in tmp_path.iterdir())
    remove_unfinished([tmp_path])
    assert list(tmp_path.iterdir()) == []


def test_files_that_a_living_process_is_writing_stay(tmp_path):
    code = (
        "import sys, time; from dae_runtime.system.atomic import atomic_path\n"
        "with atomic_path(sys.argv[1]) as path:\n"
        "    path.write_bytes(b'half'); print('written', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.bin")]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process,
        atomic_path(tmp_path / "own.bin") as own,
    ):
        assert process.stdout.readline() == b"written\n"
        for path in tmp_path.iterdir():
            os.utime(path, (0, 0))  # it waits for its input for long
        remove_unfinished([tmp_path])
        assert own.exists()
        process.stdin.close()
        assert process.wait(60) == 0
    assert (tmp_path / "a.bin").read_bytes() == b"half"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.bin", "own.bin"]


def test_files_of_other_machines_stay_until_nothing_has_happened_for_long(tmp_path):
    now = time.time()
    ages = {"00000000-1-0123456789abcdef.png": 60, "00000000-1-fedcba9876543210.png": UNTOUCHED_S + 60}
    ages |= {"0123456789abcdef.png": 60, "fedcba9876543210": UNTOUCHED_S + 60, "x-y-z.png": 60}
    for name, age_s in ages.items():
        path = tmp_path / f"{TEMPORARY_PREFIX}{name}"
        path.touch()
        os.utime(path, (now - age_s, now - age_s))
    remove_unfinished([tmp_path, tmp_path / "none"])
    left = sorted(path.name.removeprefix(TEMPORARY_PREFIX) for path in tmp_path.iterdir())
    assert left == sorted(name for name, age_s in ages.items() if age_s == 60)
