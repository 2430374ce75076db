"""SIGINT and SIGTERM end every run within two seconds, also within a model that never returns; whole files stay."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from builders import model_bytes, random_pixels, tiny_contract, wait_until_interruptible
from dae_runtime import CancelledError, Denoiser, FolderRequest, run_folder
from dae_runtime.contract import Golden
from dae_runtime.images import Image, write_image
from dae_runtime.jobs.manifest import MANIFEST_NAME
from dae_runtime.system.atomic import TEMPORARY_PREFIX

pytestmark = pytest.mark.slow
LIMIT_S = 2
BUSY_S = 2
"""A busy machine may take longer to notice that a process has ended."""


def endless_model() -> bytes:
    """Build a model whose output is its input after 2**62 rounds; images of one pixel it returns at once."""
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["still"]), helper.make_node("Identity", ["x"], ["y"])],
        "round",
        [info("i", TensorProto.INT64, []), info("go", TensorProto.BOOL, []), info("x", TensorProto.FLOAT, None)],
        [info("still", TensorProto.BOOL, []), info("y", TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node("Size", ["noisy"], ["size"]),
        helper.make_node("Greater", ["size", "one"], ["go"]),
        helper.make_node("Loop", ["rounds", "go", "noisy"], ["denoised"], body=body),
    ]
    constants = [numpy_helper.from_array(np.int64(2**62), "rounds"), numpy_helper.from_array(np.int64(1), "one")]
    edges = [info(name, TensorProto.FLOAT, ["N", "H", "W", 1]) for name in ("noisy", "denoised")]
    graph = helper.make_graph(nodes, "endless", edges[:1], edges[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    zeros = np.zeros((1, 8, 8, 1), np.float32).tobytes()
    return model_bytes(model, tiny_contract(Golden((1, 8, 8, 1), zeros, zeros, 1e-5), halo_px=None))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model that never returns, and a folder of images, the first of one pixel."""
    (tmp_path / "endless.onnx").write_bytes(endless_model())
    (tmp_path / "in").mkdir()
    for number in range(3):
        write_image(tmp_path / "in" / f"{number}.png", Image(random_pixels((40, 40) if number else (1, 1))))
    return tmp_path


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "arguments",
    [
        ("in", "out", "-b", "1"),
        ("in", "out", "-r", "-b", "1", "--manifest", "m.jsonl"),
        ("in", "out", "-b", "1", "--watch"),
        ("in/1.png", "out.png"),
        ("in/1.png", "-"),
        ("--raw", "4x4", "in/1.png", "out.raw"),
        ("--self-test",),
        ("-", "out.png"),
        ("--raw", "4x4"),
    ],
    ids=["folder", "recursive", "watch", "file", "to stdout", "raw", "self-test", "from stdin", "raw from stdin"],
)
def test_a_signal_ends_a_run(folder, arguments, number):
    command = [
        sys.executable,
        "-m",
        "dae_runtime",
        "-v",
        *arguments,
        "-m",
        "endless.onnx",
        "--device",
        "cpu",
        "--threads",
        "1",
    ]
    aside = ["1.png", "2.png"] if "--watch" in arguments else []  # it takes images in any order
    for name in aside:
        (folder / "in" / name).rename(folder / name)
    with subprocess.Popen(
        command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_until_interruptible(process)
        written = folder / "out" / "0.png"
        if "-b" in arguments:
            for _ in range(50):  # the image of one pixel may also wait behind those that never end
                time.sleep(0 if written.exists() else 0.1)
        for name in aside:
            (folder / name).rename(folder / "in" / name)
        if aside:
            time.sleep(3)  # until they were seen twice
        time.sleep(1.5)  # until the engine runs, or the stream is waited for
        assert process.poll() is None
        start = time.monotonic()
        process.send_signal(number)
        errors = process.stderr.read()
        process.wait()
        assert time.monotonic() - start < LIMIT_S + BUSY_S
    assert process.returncode == 130, errors
    assert errors.endswith("interrupted\n")
    assert "Traceback" not in errors
    assert list(folder.rglob(TEMPORARY_PREFIX + "*")) == []
    if "-b" in arguments:
        assert {path.name for path in (folder / "out").glob("*")} - {MANIFEST_NAME} <= {"0.png"}


STUCK = """
import threading, time
import click
from dae_runtime.system.atomic import atomic_path
from dae_runtime.system.command import run_command

def write():
    with atomic_path("out.png") as path:
        path.write_bytes(b"half")
        print("stuck", flush=True)
        time.sleep(600)

@click.command()
def command():
    thread = threading.Thread(target=write)
    thread.start()
    {wait}

run_command(command)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("wait", ["thread.join()", "time.sleep(600)"])
def test_a_signal_ends_what_does_not_end_by_itself(tmp_path, wait, number):
    with subprocess.Popen(
        [sys.executable, "-c", STUCK.format(wait=wait)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "stuck\n"
        start = time.monotonic()
        process.send_signal(number)
        process.communicate()
        assert time.monotonic() - start < LIMIT_S + BUSY_S
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == []


WRAPPED = """
import threading, time
import click
from dae_runtime.system.command import run_command

class Half:
    def __init__(self):
        threading.Thread(target=self.work).start()
        print("ready", flush=True)
        time.sleep(600)
        self.handle = 1

    def __del__(self):
        del self.handle

    def work(self):
        time.sleep(1)
        self.handle

@click.command()
def command():
    try:
        Half()
    except KeyboardInterrupt as error:
        {end}

run_command(command)
"""
"""A library interrupted while it builds an object: destructor and thread fail, and it wraps the interruption."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "end", ["raise", "raise RuntimeError('wrapped')", "raise click.ClickException('no')", "raise SystemExit(3)"]
)
def test_what_an_interruption_breaks_is_not_told(end, number):
    code, errors = signaled(WRAPPED.format(end=end), "ready", number)
    assert code == 130, errors
    assert errors.strip() == "interrupted"


def signaled(program: str, ready: str, number: signal.Signals) -> tuple[int, str]:
    """Send a signal to a program once it says that it is ready; return its exit code and what it said on standard error."""
    line = [sys.executable, "-c", program]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == f"{ready}\n"
        process.send_signal(number)
        errors = process.stderr.read()
    return process.returncode, errors


LEAVING = """
import sys, time
import click
from dae_runtime.system.command import run_command

class Slow:
    def __del__(self):
        print("leaving", flush=True)
        time.sleep(2)

@click.command()
def command():
    sys.modules["slow"] = Slow()
    return {code}

run_command(command)
"""
"""A library that takes its time when Python ends."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("code", [0, 4])
def test_a_signal_after_the_work_changes_no_exit_code(code, number):
    assert signaled(LEAVING.format(code=code), "leaving", number) == (code, "")


def test_cancel_ends_a_run_of_the_engine(folder):
    stop = threading.Event()
    image = random_pixels((8, 8))
    with Denoiser(folder / "endless.onnx", "cpu", 1) as denoiser:
        threading.Timer(0.3, stop.set).start()
        with pytest.raises(CancelledError):
            denoiser.denoise(image, cancel=stop.is_set)
        stop.clear()
        threading.Timer(0.5, stop.set).start()
        outcome = run_folder(FolderRequest(str(folder / "in"), str(folder / "out")), denoiser, cancel=stop.is_set)
        assert outcome.cancelled
        assert not outcome.failures


def test_what_cancel_raises_ends_the_run(folder):
    calls = []

    def cancel():
        calls.append(1)
        if len(calls) > 1:
            raise OSError("no answer")
        return False

    with Denoiser(folder / "endless.onnx", "cpu", 1) as denoiser, pytest.raises(CancelledError):
        denoiser.denoise(random_pixels((8, 8)), cancel=cancel)
