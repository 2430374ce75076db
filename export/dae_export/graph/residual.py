"""Residual networks, which predict a correction of the noisy image: the sum stays in float in any precision.

A network that is given the noise level multiplies its correction by a gain made from it first. That stays in float as well:
at level 0 the output is the image.

INT8 rounds the small correction; rounding the image would reduce a 16-bit image to 8 bits.

Source:
    Zhang, Zuo, Chen, Meng, Zhang: Beyond a Gaussian denoiser: residual learning of deep CNN for image denoising. IEEE
    Transactions on Image Processing 26(7), 2017.
"""

from __future__ import annotations

import onnx

from .model import TO_NCHW, TO_NHWC, Graph, attributes, make_node


def add_at_the_edge(graph: Graph) -> None:
    """Add the N x H x W x C input image instead of its Transpose: the same result with one inner user less."""
    last = graph.producer(graph.output.name)
    if last is None or not _transposes(last, TO_NHWC):
        return
    total = graph.producer(last.input[0])
    if total is None or total.op_type != "Add" or graph.only_consumer(total.output[0]) is not last:
        return
    image, correction = _sides(graph, total)
    if image is None or correction is None:
        return
    moved = graph.fresh_name("correction")
    graph.insert_before(total, [make_node("Transpose", [correction], [moved], perm=TO_NHWC)])
    added = make_node("Add", [graph.input.name, moved], [last.output[0]])
    graph.remove(last)
    graph.replace(total, [added])
    graph.clean()


def residual_sum(graph: Graph) -> onnx.NodeProto | None:
    """Return the node that adds the image to the correction, or None if the network is not residual."""
    last = graph.producer(graph.output.name)
    if last is not None and last.op_type == "Add" and list(last.input).count(graph.input.name) == 1:
        return last
    return None


def level_gain(graph: Graph) -> onnx.NodeProto | None:
    """Return the node that multiplies the correction by a gain made from the noise level; None if there is no such end."""
    total = residual_sum(graph)
    gain = None if total is None else graph.producer(next(name for name in total.input if name != graph.input.name))
    if gain is not None and gain.op_type == "Mul" and len(graph.of_sigma().intersection(gain.input)) == 1:
        return gain
    return None


def correction_of(graph: Graph) -> tuple[onnx.NodeProto, str] | None:
    """Return the node that is first to read a network's correction in float, and the correction; None if there is none."""
    reader = level_gain(graph) or residual_sum(graph)
    if reader is None:
        return None
    aside = graph.of_sigma() | {graph.input.name}
    return reader, next(name for name in reader.input if name not in aside)


def float_nodes(graph: Graph) -> list[str]:
    """Return the names of the nodes that compute in float in every precision: the residual end, and all of the level alone."""
    ends = [node.name for node in (level_gain(graph), residual_sum(graph)) if node is not None]
    levels = graph.of_sigma()
    return [node.name for node in graph.nodes if levels.intersection(node.output)] + ends


def give_exact_image(graph: Graph) -> None:
    """Let the sum of a quantized residual network read the image instead of its rounded copy."""
    last = graph.producer(graph.output.name)
    for index, name in enumerate(last.input if last is not None else ()):
        rounded = graph.producer(name)
        step = None if rounded is None else graph.producer(rounded.input[0])
        if last is not None and step is not None and step.input[0] == graph.input.name and step.op_type == "QuantizeLinear":
            last.input[index] = graph.input.name
    graph.clean()


def _sides(graph: Graph, total: onnx.NodeProto) -> tuple[str | None, str | None]:
    """Return image and correction among the inputs of a sum; None for both if neither is the image."""
    for image, correction in (total.input, reversed(total.input)):
        maker = graph.producer(image)
        if maker is not None and _transposes(maker, TO_NCHW) and maker.input[0] == graph.input.name:
            return image, correction
    return None, None


def _transposes(node: onnx.NodeProto, order: tuple[int, ...]) -> bool:
    return node.op_type == "Transpose" and tuple(attributes(node).get("perm", ())) == order
