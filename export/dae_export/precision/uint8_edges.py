"""uint8 pixels as input and output of a model.

The conversion is that of `dae_runtime.pixels.arrays.convert`, with bit-identical results:

    noisy -> Cast -> Div by 255 -> ...          ... -> Mul by 255 -> Round -> Clip -> Cast -> denoised

DequantizeLinear and QuantizeLinear are avoided, because they mark nodes in between as quantized: onnxruntime would round the
float weights of a convolution between them to 8 bits (WeightBiasQuantization).

An INT8 graph starts with QuantizeLinear and ends with DequantizeLinear, of scale 1/255 and zero point 0. Together with the
conversion these are the identity on pixels, so both nodes are removed and nothing is added.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto

from ..graph.model import Graph, make_node

PIXEL_SCALE = np.float32(1 / 255)


def to_uint8(model: onnx.ModelProto, precision: str) -> onnx.ModelProto:
    """Return a model whose input and output are uint8 pixels, 0..255; `model` is not changed.

    The output is that of the float model times 255, rounded to the nearest (ties to even) and clipped.

    Args:
        model: A model with float32 images in [0, 1] as input and output.
        precision: Precision as in the contract; only `int8` models lose nodes.
    """
    graph = Graph(model)
    if precision == "int8":
        _drop_first_step(graph)
        _drop_last_step(graph)
    _take_pixels(graph)
    if graph.output.type.tensor_type.elem_type == TensorProto.FLOAT:
        _return_pixels(graph)
    return graph.to_model()


def _drop_first_step(graph: Graph) -> None:
    for node in graph.consumers(graph.input.name):
        if node.op_type == "QuantizeLinear" and _is_pixel_step(graph, node):
            graph.bypass(node)


def _drop_last_step(graph: Graph) -> None:
    image, last = graph.output.name, graph.producer(graph.output.name)
    if last is None or last.op_type != "DequantizeLinear" or not _is_pixel_step(graph, last):
        return
    pixels = last.input[0]
    if pixels != graph.input.name:
        graph.rename(image, graph.fresh_name("image"))  # an inner node may use the floats too
        graph.rename(pixels, image)
        graph.output.name = image
        graph.output.type.tensor_type.elem_type = TensorProto.UINT8


def _take_pixels(graph: Graph) -> None:
    """Convert the image for every node that reads it as float."""
    image = graph.input.name
    graph.input.type.tensor_type.elem_type = TensorProto.UINT8
    users = [node for node in graph.consumers(image) if node.op_type != "DequantizeLinear"]
    if not users:
        return
    white = graph.add_constant(np.array(255, np.float32), "white")
    pixels, floats = graph.fresh_name("pixels"), graph.fresh_name("image")
    graph.insert_before(
        users[0],
        [
            make_node("Cast", [image], [pixels], name="take_pixels", to=TensorProto.FLOAT),
            make_node("Div", [pixels, white], [floats], name="from_255"),
        ],
    )
    for user in users:
        user.input[:] = [floats if name == image else name for name in user.input]


def _return_pixels(graph: Graph) -> None:
    image = graph.output.name
    floats, scaled, whole, pixels = (graph.fresh_name(name) for name in ("image", "scaled", "whole", "pixels"))
    black, white = (graph.add_constant(np.array(value, np.float32), name) for value, name in ((0, "black"), (255, "white")))
    graph.rename(image, floats)
    graph.nodes += [
        make_node("Mul", [floats, white], [scaled], name="to_255"),
        make_node("Round", [scaled], [whole], name="round"),
        make_node("Clip", [whole, black, white], [pixels], name="clip"),
        make_node("Cast", [pixels], [image], name="return_pixels", to=TensorProto.UINT8),
    ]
    graph.output.name = image
    graph.output.type.tensor_type.elem_type = TensorProto.UINT8


def _is_pixel_step(graph: Graph, node: onnx.NodeProto) -> bool:
    """Return whether a QuantizeLinear or DequantizeLinear converts between 0..1 and 0..255."""
    scale, zero = (
        graph.constant(node.input[1]),
        graph.constant(node.input[2]) if len(node.input) > 2 else np.zeros((), np.uint8),
    )
    if scale is None or zero is None:
        return False
    return bool(scale.shape in ((), (1,)) and scale == PIXEL_SCALE and zero.dtype == np.uint8 and not zero.any())
