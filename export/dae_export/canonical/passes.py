"""The canonical form of exported graphs, independent of the converter.

Convolutions, transposed convolutions, dense layers and activations; explicit pads, no `auto_pad`, no `output_shape`; biases
and batch normalization folded into layers; images as N, C, H, W with one Transpose at each edge, outside of which only a
residual sum remains; no node that depends on the image size, unless the model does.
"""

from __future__ import annotations

import numpy as np
import onnx

from dae_runtime.contract import INPUT_NAME, OUTPUT_NAME

from ..graph.model import Graph, attributes, make_node, set_attributes
from ..graph.residual import add_at_the_edge
from .affine import fold_affine
from .constants import fold_constants, part_weights, shrink_constants
from .dense import absorb_layouts, dense_to_convolution, matmul_to_gemm
from .layout_chains import simplify_movements
from .sinking import sink_transposes

BATCH_DIM, HEIGHT_DIM, WIDTH_DIM = "batch", "height", "width"
WINDOWED = ("Conv", "MaxPool", "AveragePool", "ConvTranspose")


def canonicalize(graph: Graph, fixed_size: tuple[int, int] | None) -> None:
    """Bring a converted graph into canonical form, in place.

    Args:
        graph: A graph converted at a static shape that all strides divide.
        fixed_size: Fixed height and width in pixels, or None to make both free.

    Raises:
        ConversionError: The graph is inconsistent.
    """
    fold_constants(graph)
    shrink_constants(graph)
    simplify_movements(graph)
    matmul_to_gemm(graph)
    dense_to_convolution(graph)
    absorb_layouts(graph)
    sink_transposes(graph)
    simplify_movements(graph)
    split_means(graph)
    explicit_windows(graph)
    fold_padding(graph)
    fold_affine(graph)
    add_at_the_edge(graph)
    free_sizes(graph, fixed_size)
    part_weights(graph)
    name_everything(graph)


def explicit_windows(graph: Graph) -> None:
    """Make kernel, strides, dilations and pads of every sliding window explicit, for an aligned image size.

    With TensorFlow's padding "same", kernel k and stride s on an aligned size, a convolution has a total padding of
    max(k - s, 0), the smaller half first; a transposed one crops as much, with output_padding = max(s - k, 0).
    Source: https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2
    """
    for node in graph.nodes:
        if node.op_type in WINDOWED:
            _write_window(graph, node)
    graph.infer_shapes()


def _write_window(graph: Graph, node: onnx.NodeProto) -> None:
    values = attributes(node)
    mode = values.pop("auto_pad", "NOTSET")
    values.pop("output_shape", None)
    if "kernel_shape" not in values:  # optional with weights
        values["kernel_shape"] = list(graph.shapes[node.input[1]][2:])
    kernel = values["kernel_shape"]
    strides = values.setdefault("strides", [1, 1])
    dilations = values.get("dilations", [1, 1])
    given = values.get("pads") if mode == "NOTSET" else None
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    before, after = graph.shapes[node.input[0]][2:], graph.shapes[node.output[0]][2:]
    totals = []
    for axis in range(2):
        inside, outside = before[axis] or 0, after[axis] or 0
        if node.op_type == "ConvTranspose":
            totals.append((inside - 1) * strides[axis] + spans[axis] - outside)
        else:
            totals.append(max((outside - 1) * strides[axis] + spans[axis] - inside, 0))
    begins = [given[axis] if given else max(total, 0) // 2 for axis, total in enumerate(totals)]
    if node.op_type == "ConvTranspose":
        values["output_padding"] = [max(-total, 0) for total in totals]
        values.setdefault("group", 1)
    if given is None or node.op_type == "ConvTranspose":
        given = [*begins, *(max(total, 0) - begin for total, begin in zip(totals, begins, strict=True))]
    set_attributes(node, values | {"pads": given})


def split_means(graph: Graph) -> None:
    """Take the mean over one axis at a time: in a single sum over a large image, float32 loses what the later pixels add."""
    for node in [node for node in graph.nodes if node.op_type == "ReduceMean"]:
        values = attributes(node)
        given = graph.constant(node.input[1]) if len(node.input) > 1 else np.array(values.pop("axes", ()))
        if given is None or len(given) < 2:
            continue
        tensor, nodes = node.input[0], []
        for axis in sorted((axis % len(graph.shapes[tensor]) for axis in given.tolist()), reverse=True):
            inputs, axes = ([tensor, graph.add_constant(np.array([axis]), "axes")], None)
            if len(node.input) == 1:
                inputs, axes = [tensor], [axis]
            tensor = graph.fresh_name("mean")
            nodes.append(make_node("ReduceMean", inputs, [tensor], axes=axes, **values))
            graph.nodes.append(nodes[-1])  # takes its name
        del graph.nodes[-len(nodes) :]
        nodes[-1].output[0] = node.output[0]
        graph.replace(node, nodes)
    graph.infer_shapes()


def fold_padding(graph: Graph) -> None:
    """Fold a zero Pad into the following convolution: their pads add up."""
    for node in [node for node in graph.nodes if node.op_type == "Pad"]:
        pads = graph.constant(node.input[1]) if len(node.input) > 1 else None
        user = graph.only_consumer(node.output[0])
        value = graph.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(1)
        plain = attributes(node).get("mode", "constant") == "constant" and value is not None and not value.any()
        if pads is None or not plain or user is None or user.op_type != "Conv" or pads[[0, 1, 4, 5]].any() or (pads < 0).any():
            continue
        values = attributes(user)
        added = [int(n) for n in pads[[2, 3, 6, 7]]]
        set_attributes(user, values | {"pads": [a + b for a, b in zip(values["pads"], added, strict=True)]})
        graph.bypass(node)
    graph.clean()


def free_sizes(graph: Graph, fixed_size: tuple[int, int] | None) -> None:
    """Make the batch size free, and height and width unless they are fixed."""
    for node in list(graph.nodes):
        if node.op_type == "Reshape":
            before, after = graph.shapes[node.input[0]], graph.shapes[node.output[0]]
            same = [a == b for a, b in zip(before, after, strict=False)]
            kept = [*same[: 1 if fixed_size else None], False].index(False)
            shape = [*([0] * kept), *(int(n or 0) for n in after[kept:])]  # 0: as in the input
            if not kept:
                shape[0] = -1  # inferred
            node.input[1] = graph.add_constant(np.array(shape, np.int64), "shape")
        if node.op_type == "Slice" and not fixed_size:
            _ends_from_the_end(graph, node)
        if node.op_type == "Resize":
            _scales_instead_of_sizes(graph, node)
    channels = graph.shapes[graph.input.name][-1]
    dims = (BATCH_DIM, *(fixed_size or (HEIGHT_DIM, WIDTH_DIM)), channels or 1)
    graph.set_dimensions(dims, dims)
    graph.infer_shapes()


def _ends_from_the_end(graph: Graph, node: onnx.NodeProto) -> None:
    """Count the ends of a crop from the end of the image, which is free."""
    ends, axes = graph.constant(node.input[2]), graph.constant(node.input[3]) if len(node.input) > 3 else None
    shape = graph.shapes[node.input[0]]
    if ends is None or len(shape) != 4:
        return
    axes = np.arange(len(ends)) if axes is None else axes % 4
    lengths = np.array([shape[axis] or 0 for axis in axes])
    counted = np.where(ends >= lengths, np.iinfo(np.int64).max, np.where(ends > 0, ends - lengths, ends))
    node.input[2] = graph.add_constant(np.where((axes > 0) & (lengths > 0), counted, ends).astype(np.int64), "ends")


def _scales_instead_of_sizes(graph: Graph, node: onnx.NodeProto) -> None:
    before, after = graph.shapes[node.input[0]], graph.shapes[node.output[0]]
    scales = [(b or 1) / (a or 1) for a, b in zip(before, after, strict=True)]
    name = graph.add_constant(np.array(scales, np.float32), "scales")
    graph.replace(node, [make_node("Resize", [node.input[0], "", name], node.output, **attributes(node))])


def name_everything(graph: Graph) -> None:
    """Give nodes and tensors short names that depend on the graph only, for reproducible files."""
    graph.clean()
    for index, node in enumerate(graph.nodes):
        for position, tensor in enumerate(list(node.output)):
            if tensor != graph.output.name:
                graph.rename(tensor, f".tensor_{index}_{position}")
    for name in [name for name in graph.constants if not name.startswith(".")]:
        graph.rename(name, f".constant_{name}")
    counts: dict[str, int] = {}
    for node in graph.nodes:
        kind = node.op_type.lower()
        counts[kind] = counts.get(kind, 0) + 1
        node.name = f"{kind}_{counts[kind]}"
        for position, tensor in enumerate(list(node.output)):
            if tensor != graph.output.name:
                graph.rename(tensor, f"{node.name}_out" + (f"_{position}" if position else ""))
        for position, tensor in enumerate(list(node.input)):
            if tensor.startswith(".constant_"):
                graph.rename(tensor, f"{node.name}_{_role(node, position)}")
    graph.rename(graph.input.name, INPUT_NAME)
    graph.rename(graph.output.name, OUTPUT_NAME)
    graph.infer_shapes()


def _role(node: onnx.NodeProto, position: int) -> str:
    if node.op_type in ("Conv", "ConvTranspose", "Gemm"):
        return ("input", "weight", "bias")[position]
    return {"Reshape": "shape", "Resize": "scales"}.get(node.op_type, f"constant_{position}")
