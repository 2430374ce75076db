"""Images and processes: they are read and written in any child, by libvips there or, after a fork, by another process."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import pytest

from dae_runtime.images import Image, decode, encode, read_image, write_image

pytestmark = pytest.mark.slow
PIXELS = np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3)
LIMIT_S = 60

PROGRAM = """
import os, sys, threading, time
import numpy as np
from dae_runtime.images import Image, codec_versions, disable_cache, read_image, write_image
pixels = np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3)
def write(name="a.png"): write_image(name, Image(pixels))
def read(name="a.png"): assert (read_image(name).pixels == pixels).all()
def child(work):
    pid = os.fork()
    if pid == 0:
        try: work()
        except Exception as error: print(type(error).__name__, error, flush=True); sys.exit(1)
        sys.exit(0)  # a full exit with its handlers, as the workers of a preloading server do
    end = time.monotonic() + 60
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done: return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, 9); os.waitpid(pid, 0)
    return "hangs"
def both(): write("b.png"); read("b.png")
"""


@pytest.mark.parametrize(
    "code",
    [
        "print(child(both))",
        "codec_versions(); disable_cache(); print(child(both))",
        "write(); print(child(read))",
        "write(); read(); print(child(write))",
        "write(); print(child(lambda: (disable_cache(), codec_versions(), both())))",
        "write(); print(child(lambda: sys.exit(child(read))))",
        "write(); print(child(lambda: (both(), sys.exit(child(both)))))",
        "write(); print(child(lambda: None))",
        "write('a.ppm'); print(child(lambda: read('a.ppm')))",
        "print(child(lambda: (both(), sys.exit(child(both)))))",
        "write(); print(child(lambda: None)); read(); write()",
    ],
)
def test_a_forked_child_reads_and_writes(tmp_path, run_python, code):
    result = run_python("-W", "ignore", "-c", PROGRAM + code, cwd=tmp_path)
    assert result.stderr == ""
    assert result.stdout.split()[-1] == "0"


def test_libvips_itself_is_refused_at_once(tmp_path, run_python):
    code = """
from dae_runtime.images.vips import use_vips
def use():
    with use_vips(): pass
write(); print(child(use))
"""
    result = run_python("-W", "ignore", "-c", PROGRAM + code, cwd=tmp_path)
    assert result.stdout.split()[-1] == "1"
    assert "ImageError" in result.stdout
    assert "spawn" in result.stdout


def test_a_fork_while_threads_read_and_write(tmp_path, run_python):
    code = """
stop = threading.Event()
def busy(name):
    while not stop.is_set(): write(name); read(name)
threads = [threading.Thread(target=busy, args=(f"{n}.png",)) for n in range(3)]
[thread.start() for thread in threads]
while not all(os.path.exists(f"{n}.png") for n in range(3)): time.sleep(0.05)
time.sleep(0.3)
print(*[child(both) for _ in range(5)])
stop.set(); [thread.join() for thread in threads]
"""
    result = run_python("-W", "ignore", "-c", PROGRAM + code, cwd=tmp_path)
    assert result.stdout.split() == ["0"] * 5, result.stderr


@pytest.mark.parametrize("size", [3000, 6000])
def test_a_fork_while_large_images_are_written(tmp_path, run_python, size):
    """Also of one that takes longer than the fork waits."""
    code = f"""
large = np.random.default_rng(0).integers(0, 256, ({size}, {size}, 3), np.uint8)
write()
def busy(name): write_image(name, Image(large))
threads = [threading.Thread(target=busy, args=(name,), daemon=True) for name in ("large.avif", "large.tif")]
[thread.start() for thread in threads]
time.sleep(0.5)
print(child(both), flush=True); os._exit(0)
"""
    result = run_python("-W", "ignore", "-c", PROGRAM + code, cwd=tmp_path)
    assert result.stdout.split() == ["0"], result.stderr


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_process_of_each_start_method(tmp_path: Path, method: str) -> None:
    write_image(tmp_path / "a.png", Image(PIXELS))
    np.testing.assert_array_equal(decode(encode(PIXELS, "png")).pixels, PIXELS)
    context = multiprocessing.get_context(method)
    answers = context.SimpleQueue()
    process = context.Process(target=_read, args=(os.fspath(tmp_path / "a.png"), answers))
    process.start()
    answer = _within(answers)
    process.join(LIMIT_S)
    assert process.exitcode == 0
    assert answer == "read"


def _read(path, answers):
    try:
        answers.put("read" if (read_image(path).pixels == PIXELS).all() else "wrong pixels")
    except Exception as error:
        answers.put(str(error))


def _within(answers) -> str:
    end = time.monotonic() + LIMIT_S
    while answers.empty() and time.monotonic() < end:
        time.sleep(0.01)
    assert not answers.empty()
    return answers.get()
