"""The process that reads and writes the images of a forked child: one for each child, gone with it, and never waited for."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing import spawn
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders import random_pixels, wait_until
from child import answer, children, fork_after_reading, image_process, in_child, is_running
from dae_runtime import DaeError, ImageError
from dae_runtime.images import Image, aside, decode, encode, read_image, write_image

pytestmark = pytest.mark.slow
PIXELS = random_pixels((40, 60, 3))
PNG = encode(PIXELS, "png")
REMEDY = "Start processes with the method spawn or forkserver"


def check() -> None:
    assert np.array_equal(decode(encode(PIXELS, "png")).pixels, PIXELS)


def wait_to_be_killed() -> None:
    time.sleep(300)


@pytest.mark.parametrize("ending", ["os._exit", "SIGKILL"])
def test_it_ends_with_the_child_also_at_work(ending):
    """The image takes many seconds to write."""
    large = random_pixels((5000, 5000, 3))

    def work(tell: Callable[[Any], None]) -> None:
        process = image_process()
        threading.Thread(target=encode, args=(large, "avif"), daemon=True).start()
        time.sleep(0.5)
        tell(process)
        if ending == "SIGKILL":
            wait_to_be_killed()

    child, answers = fork_after_reading(work)
    process = answer(answers)
    if ending == "SIGKILL":
        assert is_running(process)
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    wait_until(lambda: not is_running(process))
    os.close(answers)


def test_a_child_that_ends_by_itself_leaves_no_process(tmp_path, run_python):
    """Also none for the first process of a container, which may wait for nobody."""
    code = """
import multiprocessing, os, sys
sys.path[:0] = [TESTS]
from child import image_process
def told(file): open(file, "w").write(str(image_process()))
told_here = multiprocessing.get_context("fork").Process(target=told, args=("a",))
told_here.start(); told_here.join(100)
if os.fork() == 0: told("b"); sys.exit(0)
os.wait()
"""
    tests = os.fspath(Path(__file__).parents[2])
    result = run_python("-W", "ignore", "-c", code.replace("TESTS", repr(tests)), cwd=tmp_path)
    assert result.stderr == ""
    for name in ("a", "b"):
        assert not Path("/proc", (tmp_path / name).read_text("utf-8")).exists()


def test_one_that_was_killed_is_replaced_and_leaves_no_zombie():
    def work() -> list[int]:
        first = image_process()
        os.kill(first, signal.SIGKILL)
        check()
        second = children()
        os.kill(second[0], signal.SIGKILL)
        wait_until(lambda: not is_running(second[0]))
        check()
        assert len({first, *second, *children()}) == 3
        return children()

    assert len(in_child(work)) == 1


def test_one_that_is_killed_at_an_image_is_the_error_of_that_image(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(PNG)

    def work() -> str:
        process = image_process()

        def kill(_count: int) -> None:
            os.kill(process, signal.SIGSEGV)
            wait_until(lambda: not is_running(process))

        with pytest.raises(ImageError) as caught:
            read_image(path, before_allocate=kill)
        check()
        assert process not in children()
        assert len(children()) == 1
        return str(caught.value)

    words = in_child(work)
    assert words.startswith(f"{path}: the process that reads and writes images for this forked one ended by SIGSEGV; ")
    assert "may be damaged" in words


def test_threads_whose_process_is_killed_get_an_error_each():
    def work() -> int:
        process, errors, begun = image_process(), [], threading.Barrier(5)

        def read() -> None:
            try:
                decode(PNG, before_allocate=lambda _: begun.wait(60) and None)
                errors.append(None)
            except ImageError as error:
                errors.append(error)

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        wait_until(lambda: begun.n_waiting == 4)
        os.kill(process, signal.SIGKILL)
        wait_until(lambda: not is_running(process))
        begun.wait(60)
        for thread in threads:
            thread.join()
        check()
        return sum(isinstance(error, ImageError) for error in errors)

    assert in_child(work) == 4


def test_signals_to_all_processes_of_a_service_are_for_the_child():
    def work() -> bool:
        process = image_process()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(process, number)
        check()
        return children() == [process] and os.getpgid(process) != os.getpgid(0)

    assert in_child(work)


class StopError(Exception):
    """Raised by a handler of signals."""


def test_an_error_of_a_signal_handler_comes_out():
    large = random_pixels((3000, 3000, 3))

    def stop(_number: int, _frame: object) -> None:
        raise StopError

    def work() -> None:
        process = image_process()
        signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with pytest.raises(StopError):
            encode(large, "avif")
        check()
        assert children() == [process]

    in_child(work)


def test_a_fork_of_a_child_has_its_own():
    def work() -> bool:
        own = image_process()
        reading, writing = os.pipe()
        grandchild = os.fork()
        if grandchild == 0:
            try:
                check()
                os.write(writing, b"%d" % image_process())
                wait_to_be_killed()
            finally:
                os._exit(0)
        other = int(os.read(reading, 100))
        assert other not in (0, own)
        os.kill(own, signal.SIGKILL)
        check()
        assert is_running(other)
        os.kill(grandchild, signal.SIGKILL)
        os.waitpid(grandchild, 0)
        wait_until(lambda: not is_running(other))
        check()
        return True

    assert in_child(work)


def test_it_ends_with_the_child_though_a_fork_of_that_lives():
    def work(tell: Callable[[Any], None]) -> None:
        process = image_process()
        idle = os.fork()
        if idle == 0:
            wait_to_be_killed()
        tell((process, idle))

    child, answers = fork_after_reading(work)
    process, idle = answer(answers)
    os.waitpid(child, 0)
    try:
        wait_until(lambda: not is_running(process))
        assert is_running(idle)
    finally:
        os.kill(idle, signal.SIGKILL)
        os.close(answers)


def test_forks_while_threads_of_a_child_read_and_write():
    def work() -> list[int]:
        stop, ends = threading.Event(), []

        def busy() -> None:
            while not stop.is_set():
                check()

        threads = [threading.Thread(target=busy) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(5):
            grandchild = os.fork()
            if grandchild == 0:
                check()
                os._exit(7)
            ends.append(os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]))
        stop.set()
        for thread in threads:
            thread.join()
        return ends

    assert in_child(work) == [7] * 5


def work_of_pool(number: int) -> tuple[int, int]:
    pixels = random_pixels((40, 50, 3), seed=number)
    assert (decode(encode(pixels, ("png", "tiff")[number % 2])).pixels == pixels).all()
    return os.getpid(), children()[0]


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_pool_of_forked_workers():
    check()
    with multiprocessing.get_context("fork").Pool(3) as pool:
        found = set(pool.map_async(work_of_pool, range(60), chunksize=1).get(120))
        pool.close()
        pool.join()
    assert len({worker for worker, _ in found}) == len({process for _, process in found}) == len(found)
    wait_until(lambda: not any(is_running(process) for _, process in found))


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n", "utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return os.fspath(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "No such file or directory"),
        ("exit 3", "it ended with exit code 3"),
        ("echo first >&2; echo no library >&2; exit 1", "it ended with exit code 1: no library"),
        ("kill -9 $$", "it ended by SIGKILL"),
        ("exec 0>&- 1>&- 2>&-; exit 0", "it ended with exit code 0"),
    ],
)
def test_where_it_cannot_start_the_remedy_is_told_at_once(tmp_path, text, reason):
    program = os.fspath(tmp_path / "python") if text is None else script(tmp_path / "python", text)

    def work() -> list[str]:
        spawn.set_executable(program)
        words = []
        for call in (lambda: decode(PNG), lambda: encode(PIXELS, "png")):
            with pytest.raises(ImageError) as caught:
                call()
            words.append(str(caught.value))
        assert children() == []
        spawn.set_executable(sys.executable)
        check()
        return words

    for words in in_child(work):
        assert words.startswith("libvips does not work in a process that was forked after an image was read or written")
        assert reason in words
        assert REMEDY in words


def test_one_that_never_is_ready_is_waited_for_once(tmp_path):
    program = script(tmp_path / "python", "exec sleep 1000")

    def work() -> list[str]:
        spawn.set_executable(program)
        aside.START_S = 1.0
        words = []
        for _ in range(2):
            with pytest.raises(ImageError) as caught:
                decode(PNG)
            words.append(str(caught.value))
            aside.START_S = 1000.0
        assert children() == []
        return words

    first, second = in_child(work)
    assert first == second
    assert "has not started within 1 s" in first
    assert REMEDY in first


def test_a_program_that_embeds_python_is_not_started_as_one(tmp_path):
    """Its `sys.executable` is the program itself."""
    program = script(tmp_path / "server", f"touch {tmp_path}/started")

    def work() -> str:
        sys.executable = program
        spawn.set_executable(program)
        check()  # by the interpreter that belongs to the library
        os.kill(children()[0], signal.SIGKILL)
        sys.exec_prefix = os.fspath(tmp_path)
        with pytest.raises(ImageError) as caught:
            decode(PNG)
        return str(caught.value)

    words = in_child(work)
    assert f"{program} is no Python interpreter: name one with multiprocessing.set_executable" in words
    assert not (tmp_path / "started").exists()


def test_a_frozen_program_is_not_started_again():
    def work() -> None:
        sys.frozen = True  # type: ignore[attr-defined]
        sys.exec_prefix = "/nowhere"
        with pytest.raises(ImageError, match="is no Python interpreter"):
            decode(PNG)

    in_child(work)


def test_the_main_module_of_a_program_runs_once(tmp_path, run_python):
    (tmp_path / "program.py").write_text(
        "import os, sys\nimport numpy as np\nfrom dae_runtime.images import decode, encode\n"
        "print('main', flush=True)\ndata = encode(np.zeros((9, 9), np.uint8), 'png')\n"
        "if os.fork() == 0:\n    print(decode(data).pixels.shape, sys.stdin.read(), flush=True)\n    os._exit(0)\nos.wait()\n",
        "utf-8",
    )
    result = run_python("-W", "ignore", tmp_path / "program.py", input="words")
    assert (result.stdout, result.stderr) == ("main\n(9, 9) words\n", "")


def test_what_a_program_sets_for_its_sockets_signals_and_streams_is_not_in_the_way():
    def work() -> None:
        socket.setdefaulttimeout(0.001)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        for stream in range(3):
            os.close(stream)
        os.chdir("/")
        process = image_process()
        os.kill(process, signal.SIGKILL)
        wait_until(lambda: not is_running(process))
        check()

    in_child(work)


def test_a_path_that_was_changed_in_the_program_counts(tmp_path):
    """Also where the package is not on it any more."""

    def work() -> None:
        sys.path[:] = [entry for entry in sys.path if not (Path(entry) / "dae_runtime").is_dir()]
        os.environ["PYTHONPATH"] = os.fspath(tmp_path)
        check()

    (tmp_path / "numpy.py").write_text("raise ImportError('another')", "utf-8")
    in_child(work)


def test_a_process_that_was_not_forked_starts_none(run_python):
    code = """
import sys
import numpy as np
from dae_runtime.images import decode, encode
decode(encode(np.zeros((9, 9), np.uint8), "png"))
print([name for name in sys.modules if name.startswith(("multiprocessing", "dae_runtime.images.aside"))])
"""
    assert run_python("-c", code).stdout == "[]\n"


def test_no_descriptor_is_lost(tmp_path):
    path = tmp_path / "a.png"
    write_image(path, Image(PIXELS))

    def work() -> tuple[int, int]:
        process = image_process()

        def count() -> tuple[int, int]:
            return len(os.listdir("/proc/self/fd")), len(os.listdir(f"/proc/{process}/fd"))  # noqa: PTH208

        before = count()
        for _ in range(50):
            read_image(path)
            write_image(path, Image(PIXELS))
            with pytest.raises(DaeError):
                read_image(path, max_pixels=1)
        after = count()
        return after[0] - before[0], after[1] - before[1]

    assert in_child(work) == (0, 0)


def test_the_standard_streams_of_the_child_are_not_kept_open(tmp_path):
    """Who reads what a child prints sees the end of it."""
    code = f"""
import os, sys
sys.path[:0] = [{os.fspath(Path(__file__).parents[2])!r}]
from child import fork_after_reading, image_process
import time
def work(tell): os.write(1, b"%d" % image_process()); os.close(1); os.close(2); time.sleep(100)
child, _ = fork_after_reading(work)
"""
    command = [sys.executable, "-W", "ignore", "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            found = int(process.stdout.read())
            assert is_running(found)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
    wait_until(lambda: not is_running(found))
