"""The benchmark: `python -m dae_tools.export_bench [MODEL] --output docs/benchmarks.md`.

All contenders run in one process and take turns, so that whatever disturbs the machine disturbs all of them; what counts are
the ratios. Without MODEL it is the network v2 with random weights: times do not depend on what was learned; and the residual
networks are timed beside other denoisers, which `--edge-only` does alone.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dae_runtime.contract import Shape
from dae_runtime.system.atomic import write_atomic
from dae_runtime.system.command import buffered_stderr, require

from .measured import Bench

if TYPE_CHECKING:
    from dae_export.measure.latency import Latency
    from dae_export.source import KerasModel

    from .comparison import Comparison
    from .contenders import Contenders


SEED_PRESET = "v2"
THREADS = 2
ROUNDS = 10
LARGE_ROUNDS = 3
LARGE_PX = 1_000_000
"""From this many pixels on an input takes `LARGE_ROUNDS`."""


def run_bench(keras: KerasModel, name: str, threads: int, rounds: int | None, sizes: Sequence[tuple[int, int, int]]) -> Bench:
    """Measure everything.

    Args:
        keras: The model.
        name: Description of the model.
        threads: CPU threads.
        rounds: Timed runs of each contender; None: enough for stable medians.
        sizes: (N, H, W) to run; empty for the usual ones. Heights and widths are rounded up to the alignment.

    Raises:
        ParityError: A contender does not compute what Keras computes.
    """
    from dae_export.graph.macs import count_macs
    from dae_export.measure.latency import FIXED_BATCHES, FREE_SHAPES
    from dae_export.measure.parity import noisy_images
    from dae_export.source import read_network

    from .contenders import OURS, OURS_INT8, Contenders
    from .profile import profile

    network = read_network(keras, 18)
    contenders = Contenders(network, threads)
    shapes = network.images.shapes(tuple(sizes) or FREE_SHAPES, FIXED_BATCHES)
    profiled = min(shapes)  # the one with the fewest images, and the smallest of these
    ours = {name: contenders.models[name] for name in (OURS, OURS_INT8)}
    return Bench(
        network=name,
        threads=threads,
        forms=contenders.forms,
        times={shape: _times(contenders, shape, rounds) for shape in shapes},
        profiles={name: profile(model.SerializeToString(), noisy_images(profiled), threads) for name, model in ours.items()},
        macs={name: profiled[0] * sum(count_macs(model, *profiled[1:3]).values()) for name, model in ours.items()},
        profiled=profiled,
    )


def run_comparison(threads: int, rounds: int | None, sizes: Sequence[tuple[int, int, int]]) -> Comparison:
    """Time the residual networks and other denoisers on one gray image.

    Args:
        threads: CPU threads.
        rounds: Timed runs of each; None: enough for stable medians.
        sizes: (N, H, W), only the first is used; empty for the default.
    """
    from .comparison import COMPARED_PX, COMPARISON_ROUNDS, compare, edge_models

    _, height, width = sizes[0] if sizes else (1, COMPARED_PX, COMPARED_PX)
    return compare(edge_models(), (1, height, width, 1), threads, rounds or COMPARISON_ROUNDS)


def _times(contenders: Contenders, shape: Shape, rounds: int | None) -> dict[str, Latency]:
    from dae_export.measure.latency import time_alternately
    from dae_export.measure.parity import noisy_images

    usual = LARGE_ROUNDS if shape[0] * shape[1] * shape[2] > LARGE_PX else ROUNDS
    noisy = noisy_images(shape)
    return time_alternately({name: partial(run, noisy) for name, run in contenders.runs(shape).items()}, rounds or usual)


@click.command()
@click.argument("model", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Markdown file to write [default: print it].")
@click.option("--threads", type=click.IntRange(min=1), default=THREADS, show_default=True, help="CPU threads.")
@click.option("--edge-only", is_flag=True, help="Time only the residual networks and other denoisers; a few minutes faster.")
@click.option("--rounds", type=click.IntRange(min=1), hidden=True)
@click.option("--size", "sizes", type=(int, int, int), multiple=True, hidden=True)
def command(
    model: Path | None,
    output: Path | None,
    threads: int,
    edge_only: bool,
    rounds: int | None,
    sizes: tuple[tuple[int, int, int], ...],
) -> None:
    """Time exported graphs against other engines, and our networks against other denoisers.

    MODEL is a run directory of dae-train or a .keras file; without it, the network v2 with random weights is used, and
    edge-s, edge-m and edge-l are compared with other denoisers.
    """
    if model is not None and edge_only:
        raise click.UsageError("--edge-only does not time MODEL; leave out one of them.")
    require("dae_tools.export_bench", "export", "tensorflow", "tf2onnx", "onnx")
    require("dae_tools.export_bench", "cpu", "onnxruntime")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from .page import comparison_page, page

    _import_frameworks(threads)
    if edge_only:
        text = comparison_page(run_comparison(threads, rounds, sizes))
    else:
        text = page(_whole_bench(model, threads, rounds, sizes), model)
    if output is None:
        click.echo(text)
    else:
        write_atomic(output, text.encode(), overwrite=True)


def _import_frameworks(threads: int) -> None:
    from dae_export.source import import_keras

    from .contenders import limit_tensorflow

    with buffered_stderr():
        import_keras()
        limit_tensorflow(threads)


def _whole_bench(model: Path | None, threads: int, rounds: int | None, sizes: Sequence[tuple[int, int, int]]) -> Bench:
    from dae_export.source import find_source, load

    from .networks import random_network

    if model is not None:
        return run_bench(load(find_source(model)), model.name, threads, rounds, sizes)
    seed = random_network(SEED_PRESET)
    bench = run_bench(seed, seed.where, threads, rounds, sizes)
    return replace(bench, comparison=run_comparison(threads, rounds, sizes))
