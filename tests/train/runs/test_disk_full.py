"""A disk that is full ends a run in one error; the checkpoint before stays whole, and the run continues from it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from builders import untimed_history
from dae_runtime.contract import RunDirectory

pytestmark = pytest.mark.slow

# A limit on the size of files fails like a full disk: in the middle of a write.
PROGRAM = """
import dataclasses, json, resource, sys
sys.path.insert(0, sys.argv.pop())
from builders import short_run, small_autoencoder
from dae_train import TrainError, resume, train
folder, data = sys.argv[1:]
config = dataclasses.replace(short_run(data, "gaussian:0.1", epochs=1, schedule="constant"), model=small_autoencoder())

def limited(limit, work):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        work()
        return ""
    except TrainError as error:
        return str(error)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)

def state():
    from pathlib import Path
    return {path.name: path.stat().st_size for path in Path(folder).iterdir() if path.is_file()}

said = [limited(500, lambda: train(config, folder, device="cpu"))]
states = [state()]
train(config, folder, device="cpu", overwrite=True)
saved = {name: open(f"{folder}/{name}", "rb").read() for name in ("last.keras", "model.keras")}
for limit in (300, 20_000, 45_000):
    said.append(limited(limit, lambda: resume(folder, epochs=2, device="cpu")))
    states.append(state())
    now = {name: open(f"{folder}/{name}", "rb").read() for name in saved}
    assert now["last.keras"] == saved["last.keras"], limit
    assert limit > 40_000 or now == saved, limit
resume(folder, epochs=2, device="cpu")
print(json.dumps([said, states]))
"""


def test_the_checkpoint_before_stays(tmp_path: Path, digits_file: Path) -> None:
    line = [sys.executable, "-c", PROGRAM, str(tmp_path / "run"), str(digits_file), str(Path(__file__).parents[2])]
    done = subprocess.run(line, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    said, states = json.loads(done.stdout.splitlines()[-1])
    for text in said:
        assert "File too large" in text, said
        assert "--resume continues" in text, said
        assert "\n" not in text
    assert not [name for state in states for name in state if name.startswith(".dae-tmp")]
    assert [row["epoch"] for row in untimed_history(RunDirectory(tmp_path / "run"))] == [1, 2]
