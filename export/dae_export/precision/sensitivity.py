"""INT8 within limits: the layers that quantization hurts most stay in float, if that is what it takes.

Which layers those are is measured: each is left in float alone, and the PSNR that this gains ranks it. A layer is one of the
canonical graph; all nodes that a rewrite made from it go together.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import onnx

from ..errors import GateError
from ..graph.macs import WEIGHTED, share
from ..graph.model import ELEMENTWISE, Graph
from ..measure.gates import Gate, complaint
from ..measure.quality import Judgment, judge
from ..measure.samples import Samples
from .int8 import Ranges, quantize
from .integer_weights import IntegerWeights
from .scales import layer_of

MOST_IN_FLOAT = 0.5
"""Largest share of the network's MACs that may stay in float: beyond that it is no INT8 model any more."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Quantized:
    """An INT8 model that is within the limits."""

    model: onnx.ModelProto
    judgment: Judgment
    gates: tuple[Gate, ...]
    """What it was held to."""
    float_layers: tuple[str, ...]
    """Names of the layers that stayed in float, first to last."""
    float_share: float
    """Their share of the network's MACs, 0 to 1."""


def quantize_within(
    model: onnx.ModelProto,
    ranges: Ranges,
    weights: Mapping[str, IntegerWeights],
    samples: Samples,
    gates: Callable[[Judgment], Sequence[Gate]],
    macs: Mapping[str, int],
    details: bool = False,
) -> Quantized:
    """Quantize a model, leaving as many layers in float as the limits take.

    Args:
        model: The float32 model, canonical or rewritten.
        ranges: From `calibrate` with the same model.
        weights: From `round_weights` with the same model.
        samples: Their test part judges the result.
        gates: Holds a judgment to what INT8 may cost.
        macs: MACs of each layer of the canonical model, first to last.
        details: Let the judgment hold what a report shows.

    Raises:
        GateError: Every version is outside the limits; the text says of the best one by how much.
    """
    bench = _Bench(model, ranges, weights, samples, gates, macs, details)
    whole = bench.attempt(())
    problem = complaint(whole.gates)
    if problem is None:
        return whole
    affordable = [layer for layer in macs if share(macs, {layer}) <= MOST_IN_FLOAT]
    alone = [bench.attempt((layer,)) for layer in affordable]
    if enough := [one for one in alone if complaint(one.gates) is None]:
        return min(enough, key=lambda one: one.float_share)
    best = whole
    for one in sorted(alone, key=lambda one: one.judgment.drop_db):
        layers = tuple(layer for layer in macs if layer in (*best.float_layers, *one.float_layers))
        if share(macs, set(layers)) <= MOST_IN_FLOAT:
            best = bench.attempt(layers)
            if complaint(best.gates) is None:
                return best
    raise GateError(
        f"INT8 {problem}. With {', '.join(best.float_layers) or 'no layer'} in float ({best.float_share:.0%} of the "
        f"arithmetic) it still {complaint(best.gates)}. Train it a little further with dae-train "
        "--init RUN --qat, calibrate with more typical images (--calibration-data), or allow more (--max-psnr-drop)."
    )


@dataclass(frozen=True)
class _Bench:
    """Everything that one attempt needs besides its choice of layers."""

    model: onnx.ModelProto
    ranges: Ranges
    weights: Mapping[str, IntegerWeights]
    samples: Samples
    gates: Callable[[Judgment], Sequence[Gate]]
    macs: Mapping[str, int]
    details: bool

    def attempt(self, layers: tuple[str, ...]) -> Quantized:
        candidate = quantize(self.model, self.ranges, nodes_of(self.model, layers), self.weights)
        judgment = judge(self.model.SerializeToString(), candidate.SerializeToString(), self.samples, self.details)
        logger.info("INT8 with %s in float: %.3f dB lost", ", ".join(layers) or "no layer", judgment.drop_db)
        return Quantized(candidate, judgment, tuple(self.gates(judgment)), layers, share(self.macs, set(layers)))


def nodes_of(model: onnx.ModelProto, layers: tuple[str, ...]) -> list[str]:
    """Return the names of the nodes that must stay in float for some layers to do so.

    That is the nodes made from them and the activations right behind. For the first and the last layer it is also what lies
    between them and the edge of the graph: it would round what they leave exact.
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
