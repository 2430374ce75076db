"""Profile a model with onnxruntime, node by node."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dae_runtime.contract import INPUT_NAME
from dae_runtime.engine.session import load_engine
from dae_runtime.pixels.arrays import FloatArray

PROFILE_RUNS = 20
_CPU = "CPUExecutionProvider"
_KERNEL = "_kernel_time"


@dataclass(frozen=True)
class NodeTime:
    """One node of the graph as onnxruntime runs it, after its own fusions."""

    name: str
    kind: str
    shape: tuple[int, ...]
    """Of its output."""
    ms: float
    """Time of the fastest run: disturbances only add time."""


def profile(model: bytes, noisy: FloatArray, threads: int, runs: int = PROFILE_RUNS) -> list[NodeTime]:
    """Return the time of every node, in execution order.

    Args:
        model: Content of the ONNX file.
        noisy: (N, H, W, C) float32.
        threads: CPU threads.
        runs: Number of runs.
    """
    engine = load_engine()
    with tempfile.TemporaryDirectory(prefix="dae-export-") as folder:
        options = engine.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = engine.InferenceSession(model, options, providers=[_CPU])
        for _ in range(runs):
            session.run(None, {INPUT_NAME: noisy})
        events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
    return _fastest(event for event in events if event.get("cat") == "Node" and event["name"].endswith(_KERNEL))


def by_kind(nodes: Iterable[NodeTime]) -> dict[str, float]:
    """Return the milliseconds of all nodes of each kind, the longest first."""
    sums: dict[str, float] = {}
    for node in nodes:
        sums[node.kind] = sums.get(node.kind, 0.0) + node.ms
    return dict(sorted(sums.items(), key=lambda item: -item[1]))


def _fastest(events: Iterable[dict[str, Any]]) -> list[NodeTime]:
    found: dict[str, NodeTime] = {}
    for event in events:
        name, ms = event["name"].removesuffix(_KERNEL), event["dur"] / 1e3
        if name not in found or ms < found[name].ms:
            found[name] = NodeTime(name, event["args"]["op_name"], _shape(event["args"]), ms)
    return list(found.values())


def _shape(arguments: dict[str, Any]) -> tuple[int, ...]:
    outputs = arguments.get("output_type_shape") or [{}]
    return tuple(next(iter(outputs[0].values()), ()))
