"""Compare the speed of INT8 and float32 of the same network: `python -m dae_tools.int8_speed [FILE ...]`.

The float32 network is the INT8 file with dequantized weights and without rounding of activations. Runs alternate.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import click
import numpy as np
import onnx

from dae_export.graph.macs import WEIGHTED
from dae_export.graph.model import Graph, make_node
from dae_export.measure.latency import Latency, time_alternately
from dae_export.measure.tune import tuning_shape
from dae_export.precision import float_weights
from dae_runtime.contract import OUTPUT_NAME
from dae_runtime.engine.opening import open_model
from dae_runtime.engine.saturation import saturates
from dae_runtime.engine.session import load_engine, open_session, run_session
from dae_runtime.models import bundled_models
from dae_runtime.system.command import run_command
from dae_runtime.system.processor import available_cpus, cpu_features, cpu_name

ROUNDS = 7


def dequantized(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the float32 network of a QDQ model, without its rounding; `model` stays unchanged.

    A ReLU implied by unsigned rounding (smallest value 0) becomes a node again.
    """
    graph = Graph(model)
    for node in list(graph.nodes):
        if node.op_type in WEIGHTED:
            _unpack(graph, node)
    for node in list(graph.nodes):
        if node.op_type == "QuantizeLinear":
            maker = graph.producer(node.input[0])
            zero = graph.constant(node.input[2]) if len(node.input) > 2 else None
            if (
                maker is not None
                and maker.op_type in ("Conv", "Add", "Gemm", "MatMul")
                and zero is not None
                and not zero.any()
            ):
                graph.replace(node, [make_node("Relu", [node.input[0]], [node.output[0]], name=f"{maker.name}_relu")])
            else:
                graph.bypass(node)
        elif node.op_type == "DequantizeLinear":
            graph.bypass(node)
    if graph.output.name != OUTPUT_NAME:
        graph.rename(graph.output.name, OUTPUT_NAME)
    graph.clean()
    return graph.to_model()


def _unpack(graph: Graph, node: onnx.NodeProto) -> None:
    weights = float_weights(graph, node)
    if weights is not None:
        node.input[1] = graph.add_constant(weights, "weights")
    offset = graph.producer(node.input[2]) if len(node.input) > 2 else None
    if offset is not None and offset.op_type == "DequantizeLinear":
        value, scale = (graph.constants[name] for name in offset.input[:2])
        node.input[2] = graph.add_constant((value * scale).astype(np.float32), "bias")


def compare_speed(path: str | os.PathLike[str]) -> tuple[Latency, Latency, tuple[int, int, int, int]]:
    """Return the times of an INT8 file with float edges and of its float32 network, and the shape of their input.

    Raises:
        DaeError: The file cannot be read or run.
    """
    session, contract = open_model(path, "cpu")
    shape = tuning_shape(contract.images)
    float32 = open_session(dequantized(onnx.load(path)).SerializeToString(), "cpu")
    image = np.random.default_rng(0).random(shape, np.float32)
    sigma = None if contract.sigma is None else np.full((len(image), 1), contract.sigma.high, np.float32)
    runs = {name: partial(run_session, s, image, sigma) for name, s in (("int8", session), ("float32", float32))}
    times = time_alternately(runs, ROUNDS)
    return times["int8"], times["float32"], shape


@click.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def command(files: tuple[Path, ...]) -> None:
    """Time INT8 FILES, or all bundled models, against float32 of the same networks on this processor."""
    sums = "saturated" if saturates(load_engine()) else "exact"
    click.echo(f"{cpu_name()} ({', '.join(cpu_features())}), {available_cpus()} threads, sums of 8-bit products: {sums}")
    click.echo(f"{'model':12} {'int8 ms':>9} {'float32 ms':>11} {'ratio':>6}")
    for path in files or bundled_models().values():
        int8, float32, shape = compare_speed(path)
        ratio = int8.median_ms / float32.median_ms
        remark = "  SLOWER than float32" if ratio > 1 else ""
        size = "x".join(map(str, shape[1:3]))
        click.echo(f"{path.stem:12} {int8.median_ms:9.1f} {float32.median_ms:11.1f} {ratio:6.2f}  {size}{remark}")


if __name__ == "__main__":
    run_command(command)
