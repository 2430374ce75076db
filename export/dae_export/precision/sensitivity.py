"""INT8 within limits: the most sensitive layers stay in float if necessary.

Sensitivity is the gain of PSNR with only that layer in float. A layer is one of the canonical graph, with all nodes that a
rewrite made from it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import onnx

from ..errors import GateError
from ..graph.macs import WEIGHTED, share
from ..graph.model import ELEMENTWISE, Graph
from ..measure.gates import Gate, failed_gates
from ..measure.quality import Judgment, judge
from ..measure.samples import Samples
from .int8 import Ranges, quantize
from .integer_weights import IntegerWeights
from .scales import layer_of

MOST_IN_FLOAT = 0.5
"""Largest share of the MACs that may stay in float."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Quantized:
    """An INT8 model within the limits."""

    model: onnx.ModelProto
    judgment: Judgment
    gates: tuple[Gate, ...]
    """The gates on its loss."""
    float_layers: tuple[str, ...]
    """Names of the layers in float, in order."""
    float_share: float
    """Their share of the MACs of the network, 0 to 1."""


def quantize_within(
    model: onnx.ModelProto,
    ranges: Ranges,
    weights: Mapping[str, IntegerWeights],
    samples: Samples,
    gates: Callable[[Judgment], Sequence[Gate]],
    macs: Mapping[str, int],
    details: bool = False,
) -> Quantized:
    """Quantize a model, with as many layers in float as the limits require.

    Args:
        model: The float32 model, canonical or rewritten.
        ranges: From `calibrate` with the same model.
        weights: From `round_weights` with the same model.
        samples: Test samples judge the result.
        gates: Returns the gates for a judgment.
        macs: MACs of each layer of the canonical model, in order.
        details: Whether to collect details for a report.

    Raises:
        GateError: No version is within the limits; the text describes the best one.
    """
    trials = _Trials(model, ranges, weights, samples, gates, macs, details)
    whole = trials.run(())
    problem = failed_gates(whole.gates)
    if problem is None:
        return whole
    affordable = [layer for layer in macs if share(macs, {layer}) <= MOST_IN_FLOAT]
    alone = [trials.run((layer,)) for layer in affordable]
    if enough := [one for one in alone if failed_gates(one.gates) is None]:
        return min(enough, key=lambda one: one.float_share)
    best = whole
    for one in sorted(alone, key=lambda one: one.judgment.drop_db):
        layers = tuple(layer for layer in macs if layer in (*best.float_layers, *one.float_layers))
        if share(macs, set(layers)) <= MOST_IN_FLOAT:
            best = trials.run(layers)
            if failed_gates(best.gates) is None:
                return best
    raise GateError(
        f"INT8 {problem}. With {', '.join(best.float_layers) or 'no layer'} in float ({best.float_share:.0%} of the "
        f"arithmetic) it still {failed_gates(best.gates)}. Fine-tune with dae-train --config "
        "RUN/run.toml --init RUN --qat -o NEW, calibrate with more typical images (--calibration-data), "
        "or increase --max-psnr-drop."
    )


@dataclass(frozen=True)
class _Trials:
    """Quantization with different layers in float."""

    model: onnx.ModelProto
    ranges: Ranges
    weights: Mapping[str, IntegerWeights]
    samples: Samples
    gates: Callable[[Judgment], Sequence[Gate]]
    macs: Mapping[str, int]
    details: bool

    def run(self, layers: tuple[str, ...]) -> Quantized:
        candidate = quantize(self.model, self.ranges, nodes_of(self.model, layers), self.weights)
        judgment = judge(self.model.SerializeToString(), candidate.SerializeToString(), self.samples, self.details)
        logger.info("INT8 with %s in float: %.3f dB lost", ", ".join(layers) or "no layer", judgment.drop_db)
        return Quantized(candidate, judgment, tuple(self.gates(judgment)), layers, share(self.macs, set(layers)))


def nodes_of(model: onnx.ModelProto, layers: tuple[str, ...]) -> list[str]:
    """Return the names of the nodes that must stay in float with the given layers.

    These are the nodes made from them and the following activations. For the first and the last layer they include all nodes
    up to the input or output of the graph, which would round their exact values.
    """
    nodes, levels = list(model.graph.node), Graph(model).of_sigma()
    weighted = [i for i, node in enumerate(nodes) if node.op_type in WEIGHTED and not levels.intersection(node.output)]
    chosen = {i for i, node in enumerate(nodes) if layer_of(node.name) in layers}
    written = {name for i in chosen for name in nodes[i].output}
    for i, node in enumerate(nodes):
        if node.op_type in ELEMENTWISE and node.input[0] in written:
            chosen.add(i)
            written.update(node.output)
    if weighted and weighted[0] in chosen:
        chosen.update(range(weighted[0]))
    if weighted and weighted[-1] in chosen:
        chosen.update(range(weighted[-1], len(nodes)))
    return sorted(nodes[i].name for i in chosen)
