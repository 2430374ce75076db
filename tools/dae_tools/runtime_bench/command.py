"""The runtime's benchmark: `python -m dae_tools.runtime_bench -m MODEL` prints its overhead over engine and codec.

Everything is made on the fly and compared within one run, since times differ from machine to machine and from hour to hour.
Nothing else should run meanwhile.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from dae_runtime.system.command import EXIT_FAILED
from dae_runtime.system.processor import available_cpus, cpu_name

from .files import Sizes, folder_figures, memory_figures, start_figures
from .speed import Figure, speed_figures

PARTS = ("speed", "folder", "memory", "start")


@click.command()
@click.option("-m", "--model", required=True, help="An INT8 model of free size.")
@click.option(
    "--plain", metavar="FILE.onnx", help="The same network as a plain float32 file, for the loop without this package."
)
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), help="Measure only this part; repeatable.")
@click.option("--photos", default=200, show_default=True, help="Photographs in the folder run.")
@click.option("--small-files", default=10_000, show_default=True, help="Small files in the memory test.")
@click.option("--side", default=12_000, show_default=True, help="Side of the large image in pixels.")
@click.option("--device", default="cpu", show_default=True, help="What the speed is measured on, as in dae-run.")
@click.option("--rounds", default=15, show_default=True, help="Repetitions of each short measurement.")
def command(
    model: str, plain: str | None, parts: tuple[str, ...], photos: int, small_files: int, side: int, device: str, rounds: int
) -> int:
    """Measure the runtime against a bare session, over folders, its memory, and its start."""
    sizes = Sizes(photos, small_files, side, rounds)
    click.echo(f"{cpu_name()}, {available_cpus()} CPUs, device {device}, model {model}\n")
    missed = 0
    with tempfile.TemporaryDirectory(prefix="dae-bench-") as folder:
        for figure in _figures(model, plain, parts or PARTS, sizes, device, Path(folder)):
            click.echo(figure.line())
            missed += figure.met is False
    return EXIT_FAILED if missed else 0


def _figures(
    model: str, plain: str | None, parts: tuple[str, ...], sizes: Sizes, device: str, folder: Path
) -> Iterator[Figure]:
    measure: dict[str, Callable[[], Iterator[Figure]]] = {
        "speed": lambda: speed_figures(model, sizes.rounds, device),
        "folder": lambda: folder_figures(model, plain, sizes, folder),
        "memory": lambda: memory_figures(model, sizes, folder),
        "start": lambda: start_figures(model, sizes, folder),
    }
    for part in parts:
        yield from measure[part]()
