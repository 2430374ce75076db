"""Interrupted and killed runs resume exactly, and runs are bitwise reproducible."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from builders import untimed_history
from dae_runtime.contract import RunDirectory
from dae_train.judging.history import read_history

pytestmark = pytest.mark.slow

EPOCHS, STEPS = 4, 60
Start = Callable[..., "subprocess.Popen[str]"]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def flags(digits_file: Path, output: Path) -> list[str]:
    words = f"--preset v2 --noise gaussian:0.3 --epochs {EPOCHS} --steps-per-epoch {STEPS} --batch-size 16 --dropout 0.1"
    return [str(digits_file), "-o", str(output), *words.split(), "--device", "cpu", "--deterministic"]


@pytest.fixture(scope="module")
def uninterrupted(digits_file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDirectory, RunDirectory]:
    """The same deterministic run twice."""
    first, second = (tmp_path_factory.mktemp("runs") / name for name in ("first", "second"))
    code = (
        "import json, sys; from dae_train.cli import command\n"
        "for arguments in json.loads(sys.argv[1]): command.main(arguments, standalone_mode=False)\n"
        "assert 'onnxruntime' not in sys.modules"
    )
    both = json.dumps([flags(digits_file, output) for output in (first, second)])
    subprocess.run([sys.executable, "-c", code, both], check=True, timeout=300, capture_output=True)
    return RunDirectory(first), RunDirectory(second)


def weights(run: RunDirectory, name: str = "last_model") -> list[np.ndarray]:
    import keras

    found: list[np.ndarray] = keras.models.load_model(getattr(run, name), compile=False).get_weights()
    return found


def assert_equal_runs(run: RunDirectory, other: RunDirectory) -> None:
    assert untimed_history(run) == untimed_history(other)
    assert len(untimed_history(run)) == EPOCHS
    for name in ("last_model", "best_model"):
        for a, b in zip(weights(run, name), weights(other, name), strict=True):
            np.testing.assert_array_equal(a, b)
    with np.load(run.calibration) as a, np.load(other.calibration) as b:
        np.testing.assert_array_equal(a["noisy"], b["noisy"])


def stop_in_mid_epoch(process: "subprocess.Popen[str]", run: RunDirectory, number: signal.Signals) -> str:
    """Send a signal in the second epoch or a later one, before the last, and return what the process printed."""
    deadline = time.monotonic() + 200
    while not run.last_model.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.1)
    process.send_signal(number)
    return process.communicate(timeout=100)[0]


def test_deterministic_runs_are_equal(uninterrupted: tuple[RunDirectory, RunDirectory]) -> None:
    assert_equal_runs(*uninterrupted)


def test_interrupted_run_resumes_exactly(
    uninterrupted: tuple[RunDirectory, RunDirectory], digits_file: Path, tmp_path: Path, start_dae_train: Start, dae_train: Run
) -> None:
    run = RunDirectory(tmp_path / "a run")
    process = start_dae_train(*flags(digits_file, run.root))
    said = stop_in_mid_epoch(process, run, signal.SIGINT)
    assert process.returncode == 130
    assert f"dae-train --resume -o '{run.root}'" in said
    assert "Traceback" not in said
    assert 1 <= len(read_history(run.history)) < EPOCHS
    assert run.best_model.is_file()
    assert run.calibration.is_file()
    resumed = dae_train("--resume", "-o", run.root)
    assert resumed.returncode == 0, resumed.stderr
    assert "continuing after epoch" in resumed.stderr
    assert_equal_runs(run, uninterrupted[0])
    assert run.result.is_file()
    assert run.samples.is_file()


def test_killed_run_resumes_exactly(
    uninterrupted: tuple[RunDirectory, RunDirectory], digits_file: Path, tmp_path: Path, start_dae_train: Start, dae_train: Run
) -> None:
    run = RunDirectory(tmp_path / "run")
    process = start_dae_train(*flags(digits_file, run.root))
    stop_in_mid_epoch(process, run, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert len(read_history(run.history)) < EPOCHS
    (run.root / ".dae-tmp-half.keras").write_bytes(b"half")  # as a kill in the middle of saving leaves
    resumed = dae_train(digits_file, "--resume", "-o", run.root, "--epochs", EPOCHS)
    assert resumed.returncode == 0, resumed.stderr
    assert_equal_runs(run, uninterrupted[0])
    assert not list(run.root.glob(".dae-tmp-*"))
