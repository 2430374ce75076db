"""One Denoiser and several processes: fork, spawn and pickle, with real processes and worker threads."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

from dae_runtime import Denoiser, ModelError
from dae_runtime.images import Image, write_image

pytestmark = pytest.mark.slow
SETUP = """
import os, sys, threading, time
import numpy as np
from dae_runtime import Denoiser
denoiser = Denoiser({path!r}, "cpu", threads=4)
image = np.random.default_rng(0).integers(0, 256, (512, 512)).astype(np.uint8)
expected = denoiser.denoise(image)
def check(): assert (denoiser.denoise(image) == expected).all()
def child(work):
    pid = os.fork()
    if pid == 0:
        work()
        sys.exit(7)  # a full exit with destructors, as the workers of a preloading server do
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("used", "print(child(check))"),
        ("untouched", "print(child(lambda: None))"),
        ("closed", "print(child(denoiser.close))"),
        ("freed", "def work():\n    global denoiser\n    del denoiser\n    import gc; gc.collect()\nprint(child(work))"),
        ("twice", "print(child(lambda: (check(), sys.exit(child(check)))))"),
        ("threads", "def work():\n    ts = [threading.Thread(target=check) for _ in range(6)]\n"
         "    [t.start() for t in ts]; [t.join() for t in ts]\nprint(child(work))"),
        ("parent continues", "print(child(check)); check()"),
    ],
)  # fmt: skip
def test_a_forked_child_opens_the_model_for_itself(blur_file, run_python, name, code):
    result = run_python("-W", "ignore", "-c", SETUP.format(path=str(blur_file)) + code)
    assert result.stdout.split() == ["7"], result.stderr
    assert result.stderr == ""


def test_a_fork_while_threads_are_denoising(blur_file, run_python):
    code = """
stop = threading.Event()
def busy():
    while not stop.is_set(): check()
threads = [threading.Thread(target=busy) for _ in range(3)]
[t.start() for t in threads]
print(*[child(check) for _ in range(5)])
stop.set(); [t.join() for t in threads]
"""
    result = run_python("-W", "ignore", "-c", SETUP.format(path=str(blur_file)) + code)
    assert result.stdout.split() == ["7"] * 5, result.stderr


def test_a_model_missing_after_fork_is_reported(blur_file, run_python):
    code = """
os.unlink(sys.argv[1])
def work():
    try: check()
    except Exception as error: print(type(error).__name__, flush=True)
print(child(work))
"""
    result = run_python("-W", "ignore", "-c", SETUP.format(path=str(blur_file)) + code, blur_file)
    assert result.stdout.split() == ["ModelError", "7"], result.stderr


@pytest.mark.parametrize("from_bytes", [True, False])
def test_a_pickle_opens_the_model_again(blur_bytes, blur_file, from_bytes, monkeypatch, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(blur_file.parent)
    denoiser = Denoiser(blur_bytes if from_bytes else blur_file.name, "cpu", 1)
    data = pickle.dumps(denoiser)
    assert b"inference" not in data  # it goes by the public name, wherever the class stands
    monkeypatch.chdir(tmp_path / "elsewhere")  # a relative path must not follow
    image = np.random.default_rng(0).integers(0, 256, (20, 30)).astype(np.uint8)
    np.testing.assert_array_equal(pickle.loads(data).denoise(image), denoiser.denoise(image))
    if not from_bytes:
        blur_file.unlink()
        with pytest.raises(ModelError):
            pickle.loads(data)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_pool_of_processes(blur_bytes, method):
    denoiser = Denoiser(blur_bytes, "cpu", 2)
    images = [np.random.default_rng(seed).integers(0, 256, (33, 20 + seed)).astype(np.uint8) for seed in range(6)]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
        pids = set(pool.map(_pid, range(8)))
        for image, clean in zip(images, pool.map(denoiser.denoise, images), strict=True):
            np.testing.assert_array_equal(clean, denoiser.denoise(image))
    assert os.getpid() not in pids


def _pid(_: int) -> int:
    return os.getpid()


def test_a_subinterpreter_is_refused_at_once(run_python):
    """Loading onnxruntime in one would never end; mod_wsgi makes them by default."""
    inner = (
        "from dae_runtime import Denoiser\ntry: Denoiser('gray', 'cpu', 1)\nexcept Exception as e: print(type(e).__name__, e)"
    )
    code = f"""
try: import _interpreters as interpreters
except ImportError: import _xxsubinterpreters as interpreters
interpreters.run_string(interpreters.create(), {inner!r})
"""
    result = run_python("-W", "ignore", "-c", code)
    assert "DeviceError onnxruntime does not work in a subinterpreter" in result.stdout


@pytest.mark.parametrize(
    ("before", "expected"), [("pass", "(7, 9)"), ("import numpy", "ImportError cannot load module more than once")]
)
def test_image_files_in_a_subinterpreter_work_unless_numpy_is_loaded_elsewhere(run_python, tmp_path, before, expected):
    write_image(tmp_path / "a.png", Image(np.zeros((7, 9), np.uint8)))
    inner = f"""
try:
    from dae_runtime.images import read_image
    print(read_image({str(tmp_path / "a.png")!r}).pixels.shape)
except Exception as e: print(type(e).__name__, e)
"""
    code = f"""
{before}
try: import _interpreters as interpreters
except ImportError: import _xxsubinterpreters as interpreters
interpreters.run_string(interpreters.create(), {inner!r})
"""
    result = run_python("-W", "ignore", "-c", code)
    assert result.returncode == 0
    assert result.stdout.startswith(expected)
