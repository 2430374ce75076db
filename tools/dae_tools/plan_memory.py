"""Measure memory and time of planning very many files: `python -m dae_tools.plan_memory [--files N]...`.

Nothing is denoised, and no image exists: `dae-run --files-from LIST --dry-run` plans, whole and one of ten shares, and again
with a manifest that records every file as failed, of which `--resume` then skips its own.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from dae_runtime.jobs.entry import Settings
from dae_runtime.jobs.manifest import Manifest
from dae_runtime.jobs.plan import Job
from dae_runtime.system.command import run_command

from .runtime_bench.files import peak_mib

SHARES = 10
_MODEL = b"a model that is never opened"


@dataclass(frozen=True)
class Cost:
    """What a command took."""

    peak_mib: float
    seconds: float


def measure(arguments: list[str]) -> Cost:
    """Run `dae-run` in a process of its own and return its peak resident memory and its wall time.

    Raises:
        DaeError: It failed.
    """
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        return Cost(peak_mib(Path(folder), *arguments), time.perf_counter() - start)


def costs(folder: Path, files: int) -> dict[str, Cost]:
    """Return the costs of each way to plan a number of files, with what these need in an empty folder."""
    (folder / "in").mkdir()
    with (folder / "list").open("w") as file:
        file.writelines(f"{name}\n" for name in _names(files))
    (folder / "model.onnx").write_bytes(_MODEL)
    plan = ["-m", f"{folder}/model.onnx", f"{folder}/in", f"{folder}/out", "--files-from", f"{folder}/list", "--dry-run"]
    share = [*plan, "--shard", f"1/{SHARES}"]
    found = {"plan": measure(plan), f"share 1/{SHARES}": measure(share)}
    settings = Settings(hashlib.sha256(_MODEL).hexdigest())
    with Manifest(folder / "out" / "dae-manifest.jsonl", settings) as manifest:
        for name in _names(files):
            manifest.record(Job(folder / "in" / name, folder / "out" / name), (0, 0), "it does not exist", 0.1, None)
    found["resume"] = measure([*plan, "--resume"])
    found[f"resume of share 1/{SHARES}"] = measure([*share, "--resume"])
    return found


def _names(files: int) -> Iterator[str]:
    return (f"{number // 1000:06}/image-{number:09}.png" for number in range(files))


@click.command()
@click.option(
    "--files", "numbers", type=click.IntRange(1), multiple=True, default=(10_000, 100_000, 1_000_000), show_default=True
)
def command(numbers: tuple[int, ...]) -> int:
    """Print a table of peak memory, and seconds for 100,000 files, by number of files."""
    click.echo(f"{'files':>9}  {'run':24}{'peak MiB':>9}{'seconds':>9}{'s/100,000':>11}")
    for files in numbers:
        with tempfile.TemporaryDirectory() as folder:
            for run, cost in costs(Path(folder), files).items():
                click.echo(f"{files:9}  {run:24}{cost.peak_mib:9.0f}{cost.seconds:9.1f}{cost.seconds * 1e5 / files:11.1f}")
    return 0


if __name__ == "__main__":
    run_command(command)
