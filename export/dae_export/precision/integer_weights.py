"""Weights rounded to signed 8 bits with the least change of the layer output, and exact sums on every processor.

For one output channel with weights w, inputs of second moment H = E[x x'] and a scale s, the integers q minimize
(w - s q)' H (w - s q), the mean squared change of the channel's output before its activation, under the limit of `exactness`
on neighboring pairs. Weights are rounded in order, a pair at a time, and the remaining ones compensate the error (the update
of the optimal brain surgeon, one Cholesky factor for all channels). A weight of 0 stays 0, so that the reach of the network
does not grow. The scale is the best of several between the one that uses all 8 bits and the one at which plain rounding
satisfies the limit. Without samples, weights are plainly rounded at the latter scale.

Source:
    Frantar, Ashkboos, Hoefler, Alistarh: GPTQ: accurate post-training quantization for generative pre-trained transformers.
    ICLR 2023, arXiv 2210.17323.
    Hassibi, Stork: Second order derivatives for network pruning: optimal brain surgeon. NeurIPS 1992.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx

from dae_runtime.contract import EXACT_PAIR_LIMIT
from dae_runtime.pixels.arrays import Float64, FloatArray

from ..graph.macs import INTEGER
from ..graph.model import Graph
from ..measure.batches import Batch
from .exactness import Pairs, as_rows, from_rows, neighbors, worst_row_sums
from .moments import input_moments

LARGEST = 127
"""Largest absolute value of a weight."""
SCALES = 32
"""Number of candidate scales for each output channel."""
DAMPING = 0.01
"""Fraction of the mean diagonal of H that is added to it, to regularize directions missing in the samples."""
BLOCK = 64
"""Columns that are rounded before the others are updated; even, so that no pair is split."""
_GROWTH = 1.004
_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class IntegerWeights:
    """The rounded weights of one layer."""

    values: npt.NDArray[np.int8]
    """Same shape as the float weights."""
    scales: FloatArray
    """One for each output channel."""


def round_weights(
    model: onnx.ModelProto, batches: Iterable[Batch] | None = None, alignment_px: int = 1
) -> dict[str, IntegerWeights]:
    """Round the weights of every layer with an integer kernel.

    Args:
        model: The float32 model, or a QDQ model, whose weights are dequantized.
        batches: Noisy images (N, H, W, C), float32, of a size that the model accepts, with the levels that it takes; None for
            plain rounding, quickly.
        alignment_px: Height and width of images and crops are multiples of this.

    Returns:
        The weights by the name of the weight input.
    """
    graph = Graph(model)
    levels = graph.of_sigma()  # what depends on these alone stays in float
    layers = [node for node in graph.nodes if node.op_type in INTEGER and not levels.intersection(node.output)]
    nodes = {node.input[1]: node for node in layers if float_weights(graph, node) is not None}
    moments = {} if batches is None else input_moments(model, list(nodes.values()), batches, alignment_px)
    return {name: _round(graph, node, moments.get(name)) for name, node in nodes.items()}


def float_weights(graph: Graph, node: onnx.NodeProto) -> FloatArray | None:
    """Return the float weights of a node; None if they are computed, or not for a matrix product or convolution."""
    name = node.input[1]
    values = graph.constant(name)
    maker = graph.producer(name)
    if maker is not None and maker.op_type == "DequantizeLinear":
        values, scale = graph.constant(maker.input[0]), graph.constant(maker.input[1])
        if values is None or scale is None:
            return None
        axis = next((a.i for a in maker.attribute if a.name == "axis"), 1)
        shape = [-1 if i == axis % values.ndim else 1 for i in range(values.ndim)] if scale.size > 1 else [1] * values.ndim
        values = values.astype(np.float32) * scale.reshape(shape)
    if values is None or values.ndim < (3 if node.op_type == "Conv" else 2) or values.dtype != np.float32:
        return None
    return values


def round_rows(rows: Float64, pairs: Pairs, moment: Float64 | None = None) -> tuple[npt.NDArray[np.int64], Float64]:
    """Round the weights of output channels with the same inputs.

    Args:
        rows: (O, K), the weights of each output channel.
        pairs: (P, 2), columns whose products may be added in 16 bits.
        moment: (K, K), the second moment of the inputs; None for plain rounding.

    Returns:
        The integers (O, K) and the scale of each row.
    """
    narrow = np.maximum(np.abs(rows).max(1, initial=0) / LARGEST, np.finfo(np.float32).tiny)
    wide, rounded = _plainly_rounded(rows, pairs, narrow)
    disjoint = len(np.unique(pairs)) == pairs.size  # not so with an odd number of channels or a depthwise kernel: few weights
    if moment is None or not disjoint:
        return rounded, wide
    order = _order(pairs, moment)
    factor = _factor(moment[np.ix_(order, order)])
    steps = np.linspace(0, 1, SCALES)[:, None]
    scales = (narrow ** (1 - steps) * wide**steps).reshape(-1)
    values, errors = _sequential(np.tile(rows[:, order], (SCALES, 1)), scales, factor)
    best = errors.reshape(SCALES, -1).argmin(0) * len(rows) + np.arange(len(rows))
    chosen = np.empty(rows.shape, np.int64)
    chosen[:, order] = values[best]
    return chosen, scales[best]


def _order(pairs: Pairs, moment: Float64) -> Pairs:
    """Return the columns pair by pair, strongest inputs first, then the columns without a pair."""
    order = np.argsort(-np.diag(moment)[pairs].sum(1), kind="stable")
    return np.concatenate([pairs[order].ravel(), np.setdiff1d(np.arange(len(moment)), pairs)])


def _round(graph: Graph, node: onnx.NodeProto, moments: Float64 | None) -> IntegerWeights:
    weights = float_weights(graph, node)
    assert weights is not None
    rows = np.asarray(as_rows(weights.astype(np.float64), node), np.float64)
    pairs = neighbors(weights.shape, node)
    groups = 1 if moments is None else len(moments)
    parts = [
        round_rows(part, pairs, None if moments is None else moments[index])
        for index, part in enumerate(np.split(rows, groups))
    ]
    values = np.concatenate([values for values, _ in parts])
    scales = np.concatenate([scales for _, scales in parts]).astype(np.float32)
    assert worst_row_sums(values, pairs).max(initial=0) <= EXACT_PAIR_LIMIT
    return IntegerWeights(from_rows(values.astype(np.int8), weights.shape, node), scales)


def _plainly_rounded(rows: Float64, pairs: Pairs, scales: Float64) -> tuple[Float64, npt.NDArray[np.int64]]:
    """Return for each row about the smallest scale at which plain rounding satisfies the limit, and the integers."""
    exact = np.maximum(scales, worst_row_sums(rows / scales[:, None], pairs) / EXACT_PAIR_LIMIT * scales)
    while True:
        values = np.rint(rows / exact[:, None]).astype(np.int64)
        beyond = (worst_row_sums(values, pairs) > EXACT_PAIR_LIMIT) | (np.abs(values).max(1, initial=0) > LARGEST)
        if not beyond.any():
            return exact, values
        exact[beyond] *= _GROWTH


def _factor(moment: Float64) -> Float64:
    """Return the upper Cholesky factor of the inverse of the damped moment."""
    size = len(moment)
    damped = moment + np.eye(size) * max(DAMPING * float(np.trace(moment)) / size, np.finfo(np.float64).tiny)
    inverse = np.linalg.inv(damped)
    return np.asarray(np.linalg.cholesky((inverse + inverse.T) / 2).T, np.float64)


def _sequential(rows: Float64, scales: Float64, factor: Float64) -> tuple[npt.NDArray[np.int64], Float64]:
    """Round rows in column order, pair by pair; return the integers and the squared error of each row."""
    remaining = rows / scales[:, None]
    free = rows != 0
    values = np.zeros(rows.shape, np.int64)
    left = np.zeros(rows.shape)
    for start in range(0, rows.shape[1], BLOCK):  # one matrix product for all columns behind a block
        stop = start + BLOCK
        for first in range(start, min(stop, rows.shape[1]), 2):
            pair, rest = slice(first, first + 2), slice(first + 2, stop)
            values[:, pair], left[:, pair] = _round_pair(remaining[:, pair], free[:, pair], factor[pair, pair])
            remaining[:, rest] -= left[:, pair] @ factor[pair, rest]
        remaining[:, stop:] -= left[:, start:stop] @ factor[start:stop, stop:]
    return values, (left**2).sum(1) * scales**2


def _round_pair(wanted: Float64, free: npt.NDArray[np.bool_], factor: Float64) -> tuple[npt.NDArray[np.int64], Float64]:
    """Return the best integers for one or two remaining weights, and the errors in units of the diagonal entries."""
    first = np.clip(np.rint(wanted[:, 0]), -LARGEST, LARGEST) * free[:, 0]
    if wanted.shape[1] == 1:
        return first[:, None].astype(np.int64), (wanted - first[:, None]) / factor[0, 0]
    excess = np.maximum(np.abs(first) + np.abs(wanted[:, 1]) - EXACT_PAIR_LIMIT, 0) * (first * wanted[:, 1] > 0)
    best_values, best_left, best_cost = np.zeros(wanted.shape), np.zeros(wanted.shape), np.full(len(wanted), np.inf)
    for share in _SHARES:
        one = np.sign(first) * np.maximum(np.abs(first) - np.ceil(excess * share), 0)
        left_one = (wanted[:, 0] - one) / factor[0, 0]
        rest = wanted[:, 1] - left_one * factor[0, 1]
        most = np.where(rest * one > 0, np.minimum(EXACT_PAIR_LIMIT - np.abs(one), LARGEST), LARGEST)
        two = np.clip(np.rint(rest), -most, most) * free[:, 1]
        left_two = (rest - two) / factor[1, 1]
        cost = left_one**2 + left_two**2
        better = cost < best_cost
        best_values[better] = np.stack([one, two], 1)[better]
        best_left[better] = np.stack([left_one, left_two], 1)[better]
        best_cost[better] = cost[better]
    return best_values.astype(np.int64), best_left
