"""Processes that are killed, end or never come: the others end too, and a resumed run is that of an undisturbed one."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from dae_runtime.contract import RunDirectory
from dae_train.judging.history import read_history
from process_group import COMMAND, free_port, run_all, run_group

pytestmark = pytest.mark.slow
SETTINGS = """
small = preset_settings("edge-s", filters=(8,), encoder_blocks=(0,))
training = TrainingSettings(epochs=4, steps_per_epoch=20, batch_size=6, optimizer="adam")
config = RunConfig(small, NoiseSettings("gaussian:0.3"), DataSettings(sys.argv[5], patch_px=16), training)
batch = HostFeed.batch
def kill(victim, at):
    def killed(feed, step):
        if index == victim and step == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return batch(feed, step)
    HostFeed.batch = killed
given = dict(device="cpu", processes=place)
"""
CUT = """
train(config, mine / "whole", **given)
kill(1, 50)
train(config, mine / "cut", **given)
"""
FINISHED = """
resume(mine / "cut", **given)
"""
CUT_AGAIN = """
kill(0, 70)
resume(mine / "moved", **given)
"""
ALONE = """
resume(mine / "moved", device="cpu")
"""
NEVER = """
import socket
from dae_train import TrainError
from dae_train.fitting import connection
connection.CONNECT_S = 3
with socket.socket() as taken:
    taken.bind(("", 0))
    taken.listen()
    here = Processes(2, 0, f"127.0.0.1:{taken.getsockname()[1]}")
    try:
        train(RunConfig(), mine / "run", processes=here)
    except TrainError as error:
        print(error, flush=True)
train(RunConfig(), mine / "run", processes=Processes(2, 1, coordinator))
"""
ENDED = "error: another process of this training has ended. Look at what it said, then start all again with --resume.\n"


def weights(run: RunDirectory) -> list[np.ndarray]:
    import keras

    from dae_train.learning import optimizers  # noqa: F401  # known to Keras from then on

    last = keras.models.load_model(run.last_model)
    best = keras.models.load_model(run.best_model, compile=False)
    return [*best.get_weights(), *last.get_weights(), *(np.array(variable) for variable in last.optimizer.variables)]


def test_killed_processes_end_the_others_and_resuming_is_exact(tmp_path: Path, digits_file: Path) -> None:
    """One of two is killed; resumed by two it ends with the same bits, by three and then one with the same figures."""
    whole, cut, moved = (RunDirectory(tmp_path / name) for name in ("whole", "cut", "moved"))
    (code, said), (killed, _) = run_group(SETTINGS + CUT, 2, tmp_path, digits_file)
    assert (code, killed) == (4, -9), said
    assert said.endswith(ENDED)
    assert [row["step"] for row in read_history(cut.history)] == [20, 40]
    shutil.copytree(cut.root, moved.root)

    for code, said in run_group(SETTINGS + FINISHED, 2, tmp_path, digits_file):
        assert code == 0, said
    assert all((a == b).all() for a, b in zip(weights(whole), weights(cut), strict=True))
    timed = {"seconds", "images_per_s", "waiting"}
    rows = [[{k: v for k, v in row.items() if k not in timed} for row in read_history(run.history)] for run in (whole, cut)]
    assert rows[0] == rows[1]

    results = run_group(SETTINGS + CUT_AGAIN, 3, tmp_path, digits_file)
    assert [code for code, _ in results] == [-9, 4, 4]
    assert all(said.endswith(ENDED) for _, said in results[1:]), results
    assert [row["step"] for row in read_history(moved.history)] == [20, 40, 60]

    ((code, said),) = run_group(SETTINGS + ALONE, 1, tmp_path, digits_file)
    assert code == 0, said
    for one, other in zip(read_history(whole.history), read_history(moved.history), strict=True):
        assert other["step"] == one["step"]
        assert abs(other["loss"] - one["loss"]) < 1e-5
        assert abs(other["val_loss"] - one["val_loss"]) < 1e-5
    assert not list(tmp_path.glob("unseen-*"))


def test_a_process_that_fails_tells_the_others_why(tmp_path: Path, digits_file: Path) -> None:
    place = ["--processes", 2, "--coordinator", f"127.0.0.1:{free_port()}", "--device", "cpu", "-o", tmp_path / "run"]
    empty = tmp_path / "empty"
    empty.mkdir()
    lines = [[sys.executable, "-c", COMMAND, data, *place, "--process-id", i] for i, data in enumerate((digits_file, empty))]
    (code, said), (failed, reason) = run_all(lines, tmp_path)
    assert (code, failed) == (4, 1), said
    assert f"error: {empty} holds no images" in reason
    assert f"error: another process of this training has ended, process 1: {empty} holds no images" in said
    assert not (tmp_path / "run").exists()


def test_a_port_that_is_taken_and_a_process_that_never_comes(tmp_path: Path) -> None:
    ((code, said),) = run_group(NEVER, 1, tmp_path)
    assert code == 4, said
    assert "process 0 cannot listen on port " in said
    assert "Address already in use. Choose another for --coordinator" in said
    assert said.splitlines()[-1].startswith("error: not all 2 processes came within 3 s: this is process 1, and process 0 is ")
    assert not (tmp_path / "run").exists()
