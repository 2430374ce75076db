from __future__ import annotations

import signal
import stat
import subprocess
import sys

import pytest

from dae_runtime import atomic
from dae_runtime.atomic import TEMPORARY_PREFIX, atomic_path, write_atomic


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


@pytest.mark.parametrize("links", [True, False])
def test_without_overwriting_an_existing_file_stays(tmp_path, monkeypatch, links):
    if not links:  # a file system such as FAT

        def refuse(*_):
            raise PermissionError

        monkeypatch.setattr(atomic.os, "link", refuse)
    path = tmp_path / "a.bin"
    write_atomic(path, b"old", overwrite=False)
    with pytest.raises(FileExistsError):
        write_atomic(path, b"new", overwrite=False)
    assert path.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_a_killed_process_leaves_no_part_under_the_final_name(tmp_path):
    code = (
        "import sys, time; from dae_runtime.atomic import atomic_path\n"
        "with atomic_path(sys.argv[1]) as path:\n"
        "    path.write_bytes(b'half'); print('written', flush=True); time.sleep(60)"
    )
    path = tmp_path / "a.bin"
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"written\n"
        process.send_signal(signal.SIGKILL)
    assert not path.exists()
    assert all(path.name.startswith(TEMPORARY_PREFIX) for path in tmp_path.iterdir())
