"""Weights rounded to signed 8 bits so that the layer's output changes least and no sum depends on the processor.

For one output channel with weights w, inputs of second moment H = E[x x'] and a scale s, the integers q minimize
(w - s q)' H (w - s q), the mean squared change of the channel's output before its activation, under the limit of `exactness`
on neighboring pairs. Products are rounded from first to last, a pair at a time, and the weights that are still open make up
for the error (the optimal brain surgeon's update, one Cholesky factor for all channels). A weight of 0 stays 0: a rewrite
may have put it there, and the reach of the network must not grow. The scale is the best of a few between the one that fills
8 bits and the one at which plain rounding obeys the limit. Without inputs H is the identity.

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
"""Of a weight: symmetric, so that its negative is a weight as well."""
SCALES = 32
"""Scales that are tried for each output channel."""
DAMPING = 0.01
"""Share of the mean diagonal of H that is added to it: directions that the samples did not show must not cost nothing."""
_GROWTH = 1.004
_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class IntegerWeights:
    """The rounded weights of one layer."""

    values: npt.NDArray[np.int8]
    """In the shape of the float weights."""
    scales: FloatArray
    """One for each output channel."""


def round_weights(
    model: onnx.ModelProto, batches: Iterable[Batch] | None = None, alignment_px: int = 1
) -> dict[str, IntegerWeights]:
    """Round the weights of every layer that has an integer kernel.

    Args:
        model: The float32 model, or a QDQ model, whose weights are taken as what they stand for.
        batches: Noisy images (N, H, W, C), float32, with the levels that the model takes; None to round by the weights
            alone, quickly.
        alignment_px: Height and width of the images are multiples of this, and so are those of the crops that are run.

    Returns:
        The weights by the name of the node's weight input.
    """
    graph = Graph(model)
    levels = graph.of_sigma()  # what depends on these alone stays in float
    layers = [node for node in graph.nodes if node.op_type in INTEGER and not levels.intersection(node.output)]
    nodes = {node.input[1]: node for node in layers if float_weights(graph, node) is not None}
    moments = {} if batches is None else input_moments(model, list(nodes.values()), batches, alignment_px)
    return {name: _round(graph, node, moments.get(name)) for name, node in nodes.items()}


def float_weights(graph: Graph, node: onnx.NodeProto) -> FloatArray | None:
    """Return the weights of a node as numbers; None if they are computed, or are not for a matrix product or convolution."""
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
    """Round the weights of some output channels that read the same inputs.

    Args:
        rows: (O, K), the weights of each output channel.
        pairs: (P, 2), columns whose products an engine may add in 16 bits.
        moment: (K, K), the second moment of the inputs; None for the identity.

    Returns:
        The integers (O, K) and the scale of each row.
    """
    narrow = np.maximum(np.abs(rows).max(1, initial=0) / LARGEST, np.finfo(np.float32).tiny)
    wide, rounded = _obeying(rows, pairs, narrow)
    disjoint = len(np.unique(pairs)) == pairs.size
    if not disjoint:  # an odd number of channels or a depthwise kernel: few weights, which plain rounding serves
        return rounded, wide
    order = _order(pairs, moment, rows.shape[1])
    factor = _factor(None if moment is None else moment[np.ix_(order, order)], len(order))
    steps = np.linspace(0, 1, SCALES)[:, None]
    scales = (narrow ** (1 - steps) * wide**steps).reshape(-1)
    values, errors = _sequential(np.tile(rows[:, order], (SCALES, 1)), scales, factor)
    best = errors.reshape(SCALES, -1).argmin(0) * len(rows) + np.arange(len(rows))
    chosen = np.empty(rows.shape, np.int64)
    chosen[:, order] = values[best]
    return chosen, scales[best]


def _order(pairs: Pairs, moment: Float64 | None, size: int) -> Pairs:
    """Return the columns pair by pair, those of the strongest inputs first; a column without a neighbor comes last."""
    strength = np.ones(size) if moment is None else np.diag(moment)
    order = np.argsort(-strength[pairs].sum(1), kind="stable")
    return np.concatenate([pairs[order].ravel(), np.setdiff1d(np.arange(size), pairs)])


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


def _obeying(rows: Float64, pairs: Pairs, scales: Float64) -> tuple[Float64, npt.NDArray[np.int64]]:
    """Return for each row a scale at which plain rounding obeys the limit, about the smallest, and the integers there."""
    exact = np.maximum(scales, worst_row_sums(rows / scales[:, None], pairs) / EXACT_PAIR_LIMIT * scales)
    while True:
        values = np.rint(rows / exact[:, None]).astype(np.int64)
        beyond = (worst_row_sums(values, pairs) > EXACT_PAIR_LIMIT) | (np.abs(values).max(1, initial=0) > LARGEST)
        if not beyond.any():
            return exact, values
        exact[beyond] *= _GROWTH


def _factor(moment: Float64 | None, size: int) -> Float64:
    """Return the upper Cholesky factor of the inverse of the damped moment."""
    if moment is None:
        return np.eye(size)
    damped = moment + np.eye(size) * max(DAMPING * float(np.trace(moment)) / size, np.finfo(np.float64).tiny)
    inverse = np.linalg.inv(damped)
    return np.asarray(np.linalg.cholesky((inverse + inverse.T) / 2).T, np.float64)


def _sequential(rows: Float64, scales: Float64, factor: Float64) -> tuple[npt.NDArray[np.int64], Float64]:
    """Round rows from first to last column, pair by pair; returns the integers and the squared error of each row."""
    open_weights = rows / scales[:, None]
    free = rows != 0
    values = np.zeros(rows.shape, np.int64)
    errors = np.zeros(len(rows))
    for first in range(0, rows.shape[1], 2):
        columns = slice(first, first + 2)
        values[:, columns], left = _round_pair(open_weights[:, columns], free[:, columns], factor[columns, columns])
        errors += (left**2).sum(1)
        open_weights[:, first + 2 :] -= left @ factor[columns, first + 2 :]
    return values, errors * scales**2


def _round_pair(wanted: Float64, free: npt.NDArray[np.bool_], factor: Float64) -> tuple[npt.NDArray[np.int64], Float64]:
    """Return the best integers for one or two open weights, and what each leaves over, in units of its diagonal entry."""
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
