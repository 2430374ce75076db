"""Second moments of layer inputs, measured on samples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper

from dae_runtime.contract import INPUT_NAME, SIGMA_NAME
from dae_runtime.engine.session import open_session
from dae_runtime.pixels.arrays import Float64, FloatArray

from ..graph.model import Graph, attributes
from ..measure.batches import Batch, as_taken, images_of, part_of, with_images

CROP_PX = 128
"""Approximate crop size: the activations of all layers are in memory at once."""
MOST_ROWS = 2048
"""Most positions of an image, subsampled at a fixed stride."""


def input_moments(
    model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], batches: Iterable[Batch], alignment_px: int
) -> dict[str, Float64]:
    """Return E[x x'] of the inputs of each layer, by the name of its weight input.

    Args:
        model: The float32 model, or a QDQ model.
        nodes: Convolutions and matrix products of the model.
        batches: Noisy images (N, H, W, C), float32, of a size that the model accepts, with the levels that it takes.
        alignment_px: Height and width of crops are multiples of this.

    Returns:
        (groups, K, K) each, in the order of `exactness.as_rows`.
    """
    graph = Graph(model)
    shapes = {node.input[1]: graph.shapes[node.input[1]] for node in nodes}
    session, names = _open_with_outputs(graph, sorted({node.input[0] for node in nodes}))
    sums: dict[str, Float64] = {}
    counts: dict[str, int] = {}
    for image in _crops(batches, alignment_px, fixed=isinstance(session.get_inputs()[0].shape[1], int)):
        fed = dict(zip((INPUT_NAME, SIGMA_NAME), as_taken(session, image), strict=False))
        seen = dict(zip(names, session.run(names, fed), strict=True))
        for node in nodes:
            products = _products(node, seen[node.input[0]], shapes[node.input[1]])
            moment = np.einsum("gnk,gnl->gkl", products, products, optimize=True)
            sums[node.input[1]] = sums.get(node.input[1], 0) + moment.astype(np.float64)
            counts[node.input[1]] = counts.get(node.input[1], 0) + products.shape[1]
    return {name: total / counts[name] for name, total in sums.items()}


def _open_with_outputs(graph: Graph, names: list[str]) -> tuple[Any, list[str]]:  # onnxruntime ships no types
    """Open a model that also returns inner tensors."""
    model = graph.to_model()
    present = {model.graph.output[0].name, model.graph.input[0].name}
    model.graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names if name not in present
    )
    return open_session(model.SerializeToString(), "cpu"), names


def _crops(batches: Iterable[Batch], alignment_px: int, fixed: bool) -> Iterable[Batch]:
    side = max(CROP_PX // alignment_px, 1) * alignment_px
    for batch in batches:
        noisy = images_of(batch)
        tops = [0 if fixed else max(n - side, 0) // 2 // alignment_px * alignment_px for n in noisy.shape[1:3]]
        ends = [None if fixed else top + side for top in tops]
        cut = with_images(batch, np.ascontiguousarray(noisy[:, tops[0] : ends[0], tops[1] : ends[1]], np.float32))
        for index in range(len(noisy)):
            yield part_of(cut, index, index + 1)


def _products(node: onnx.NodeProto, values: FloatArray, shape: tuple[int | None, ...]) -> FloatArray:
    """Return (groups, positions, K): the inputs that the weights of an output channel multiply, at some positions."""
    if node.op_type != "Conv":
        rows = values.reshape(-1, values.shape[-1])
        if attributes(node).get("transA", 0):
            rows = np.ascontiguousarray(rows.T)
        return rows[None, :: max(1, len(rows) // MOST_ROWS)]
    set_by = attributes(node)
    groups, axes = set_by.get("group", 1), values.ndim - 2
    kernel = [n or 1 for n in shape[2:]]
    stride, dilation = (set_by.get(name, [1] * axes) for name in ("strides", "dilations"))
    pads = set_by.get("pads", [0] * 2 * axes)
    padded = np.pad(values, [(0, 0), (0, 0), *zip(pads[:axes], pads[axes:], strict=True)])
    span = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(padded, span, axis=tuple(range(2, 2 + axes)))
    steps: tuple[Any, ...] = (slice(None), slice(None), *(slice(None, None, step) for step in (*stride, *dilation)))
    view = view[steps]
    count, channels = view.shape[:2]
    view = view.reshape(count, groups, channels // groups, *view.shape[2:])
    # (N, group, channel, positions, kernel) -> (group, N, positions, kernel, channel)
    places = tuple(range(3, 3 + axes))
    taps = tuple(range(3 + axes, 3 + 2 * axes))
    every = max(1, count * int(np.prod(view.shape[3 : 3 + axes])) // MOST_ROWS)
    moved = view.transpose(1, 0, *places, *taps, 2)
    flat = np.unravel_index(np.arange(0, int(np.prod(moved.shape[1 : 2 + axes])), every), moved.shape[1 : 2 + axes])
    wanted: tuple[Any, ...] = (slice(None), *flat)
    chosen = moved[wanted]
    return np.ascontiguousarray(chosen.reshape(groups, chosen.shape[1], -1), np.float32)
