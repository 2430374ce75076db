"""Padding and cropping inside the graph, so that a model of free size accepts any height and width.

A network needs multiples of its alignment a. Bottom and right are padded by reflection, as in the runtime, and where an image
is too small for that, by replication:

    missing = -size mod a        0 for aligned images
    mirrored = min(missing, size - 1)
    noisy -> Pad (reflect, mirrored) -> Pad (edge, missing - mirrored) -> network -> Slice to size -> denoised

An INT8 model pads and crops bytes; a residual network crops its correction and adds the unpadded image.
"""

from __future__ import annotations

import numpy as np
import onnx

from .model import Graph, make_node
from .residual import correction_of, residual_sum


def take_any_size(model: onnx.ModelProto, alignment_px: int) -> onnx.ModelProto:
    """Return a model that pads its input to a multiple of the alignment and crops its output; `model` is not changed.

    Args:
        model: A model of free height and width, N x H x W x C at input and output, of any precision.
        alignment_px: Height and width must be multiples of this; 1 returns `model`.
    """
    graph = Graph(model)
    if alignment_px == 1:
        return model
    total, end = residual_sum(graph), correction_of(graph)
    image = graph.input.name
    size, mirrored, repeated = _sizes(graph, alignment_px)
    _pad(graph, image, (mirrored, repeated), None if total is None else total.name)
    if end is None:
        _crop_output(graph, size)
    else:
        _crop_before(graph, *end, size)
    graph.clean()
    return graph.to_model()


def remove_padding(graph: Graph) -> None:
    """Remove the nodes of `take_any_size` in place, so that shapes can be inferred."""
    for node in list(graph.nodes):
        if node.op_type == "Pad" and graph.constant(node.input[1]) is None:
            graph.bypass(node)
        elif node.op_type == "Slice" and graph.constant(node.input[2]) is None:
            image = node.output[0] if node.output[0] == graph.output.name else ""
            graph.bypass(node)
            if image:
                graph.rename(graph.output.name, image)
    graph.clean()


def _sizes(graph: Graph, alignment_px: int) -> tuple[str, str, str]:
    """Add nodes that compute the image shape and both pads; return their names."""
    names = ("size", "negative", "missing", "most", "mirrored", "repeated", "mirrored_pads", "repeated_pads")
    size, negative, missing, most, mirrored, repeated, *pads = (graph.fresh_name(name) for name in names)
    multiple = graph.add_constant(np.array([1, alignment_px, alignment_px, 1], np.int64), "alignment")
    one = graph.add_constant(np.ones(4, np.int64), "one")
    none = graph.add_constant(np.zeros(4, np.int64), "no_pads")
    graph.nodes[:0] = [
        make_node("Shape", [graph.input.name], [size], name="size"),
        make_node("Neg", [size], [negative], name="size/Neg"),
        make_node("Mod", [negative, multiple], [missing], name="size/Mod"),
        make_node("Sub", [size, one], [most], name="size/Most"),
        make_node("Min", [missing, most], [mirrored], name="size/Min"),
        make_node("Sub", [missing, mirrored], [repeated], name="size/Sub"),
        make_node("Concat", [none, mirrored], [pads[0]], name="size/Mirrored", axis=0),
        make_node("Concat", [none, repeated], [pads[1]], name="size/Repeated", axis=0),
    ]
    return size, pads[0], pads[1]


def _pad(graph: Graph, image: str, pads: tuple[str, str], total: str | None) -> None:
    """Pad the image for all users except the residual sum; after quantization if all others quantize it."""
    users = [node for node in graph.consumers(image) if node.op_type != "Shape" and node.name != total]
    if len(users) == 1 and users[0].op_type == "QuantizeLinear":
        image = users[0].output[0]
        users = graph.consumers(image)
    mirrored, padded = graph.fresh_name("mirrored_image"), graph.fresh_name("padded")
    graph.insert_before(
        users[0],
        [
            make_node("Pad", [image, pads[0]], [mirrored], name="pad/Reflect", mode="reflect"),
            make_node("Pad", [mirrored, pads[1]], [padded], name="pad/Edge", mode="edge"),
        ],
    )
    for node in users:
        node.input[:] = [padded if name == image else name for name in node.input]


def _crop_output(graph: Graph, size: str) -> None:
    image = graph.output.name
    last = graph.producer(image)
    if last is not None and last.op_type == "DequantizeLinear":
        _crop_before(graph, last, last.input[0], size)
        return
    inner = graph.fresh_name("uncropped")
    graph.rename(image, inner)
    graph.output.name = image
    graph.nodes.append(_crop(graph, inner, image, size))


def _crop_before(graph: Graph, user: onnx.NodeProto, name: str, size: str) -> None:
    """Crop an input of a node; its bytes if it is dequantized."""
    maker = graph.producer(name)
    if maker is not None and maker.op_type == "DequantizeLinear" and graph.only_consumer(name) is user:
        user, name = maker, maker.input[0]
    cropped = graph.fresh_name("cropped")
    graph.insert_before(user, [_crop(graph, name, cropped, size)])
    user.input[:] = [cropped if other == name else other for other in user.input]


def _crop(graph: Graph, name: str, cropped: str, size: str) -> onnx.NodeProto:
    start = graph.add_constant(np.zeros(4, np.int64), "start")
    return make_node("Slice", [name, start, size], [cropped], name="crop")
