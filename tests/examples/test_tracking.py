"""The examples that log a training elsewhere, offline."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dae_train.judging.history import read_history

pytestmark = pytest.mark.slow
EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, folder: Path, **environment: str) -> list[dict[str, float]]:
    """Run an example briefly as a program of its own; return the history of its run."""
    program = f"import {name}; {name}.main('synthetic', 'run', epochs=2, steps_per_epoch=2, batch_size=2)"
    paths = os.pathsep.join([str(EXAMPLES), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env=dict(os.environ) | {"PYTHONPATH": paths} | environment,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = read_history(folder / "run" / "history.csv")
    assert len(rows) == 2
    return rows


def test_mlflow_gets_the_figures_of_each_epoch(tmp_path: Path) -> None:
    rows = run("track_mlflow", tmp_path, MLFLOW_TRACKING_URI=(tmp_path / "mlruns").as_uri(), MLFLOW_ALLOW_FILE_STORE="true")
    (logged,) = tmp_path.glob("mlruns/*/*/metrics/val_psnr")
    values = [float(line.split()[1]) for line in logged.read_text("utf-8").splitlines()]
    assert values == pytest.approx([row["val_psnr"] for row in rows], abs=1e-3)
    assert {path.name for path in logged.parents[1].glob("artifacts/*")} == {"run.toml", "model.keras"}


def test_wandb_writes_a_run_to_be_sent_later(tmp_path: Path) -> None:
    rows = run("track_wandb", tmp_path, WANDB_MODE="offline", WANDB_SILENT="true")
    (folder,) = tmp_path.glob("wandb/offline-run-*")
    assert (folder / "files" / "run.toml").is_file()
    (log,) = folder.glob("run-*.wandb")
    # Records of protobuf: a key, then its value as text.
    values = re.findall(rb"\x08val_psnr\x82\x01.(\d+\.\d+)", log.read_bytes(), re.DOTALL)
    for row in rows:
        assert min(abs(float(value) - row["val_psnr"]) for value in values) < 1e-3
