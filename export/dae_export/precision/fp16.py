"""Conversion of a graph to FP16, for CUDA.

A float32 tensor becomes float16 where the ONNX schemas of its producer and consumers allow it. Where one does not (the scales
of a Resize), it stays float32, with a Cast if it is computed. Nothing stays float32 for accuracy: the gates reject a file that
loses too much.

onnxruntime's own converter (onnxruntime.transformers.float16) is not used: it silently clips large weights, and keeps
operators in float32 that support float16.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..errors import ConversionError
from ..graph.model import Array, Graph, make_node

LARGEST = float(np.finfo(np.float16).max)
"""65504: the largest finite float16."""
SMALLEST = np.finfo(np.float16).smallest_subnormal
"""2^-24: the smallest float16 above zero."""


def to_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model in float16; `model` is not changed.

    Input and output keep their types, with a Cast at each. Constants are rounded to the nearest float16, small ones to
    subnormal numbers; integer tensors are not changed. On the CPU, onnxruntime computes most operators in float32 and rounds
    in between.

    Args:
        model: A float32 model with one input and one output.

    Raises:
        ConversionError: A constant exceeds 65504, or a node contains a subgraph (If, Loop, Scan).
    """
    graph = Graph(model)
    return _Conversion(graph).run()


class _Conversion:
    """One pass over the nodes in order."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.floats = _float_tensors(graph)
        self.halves: set[str] = set()  # computed tensors that are now float16
        self.variants: dict[tuple[str, bool], str] = {}  # converted tensors: (name, half) to new name

    def run(self) -> onnx.ModelProto:
        graph, output = self.graph, self.graph.output
        for node in list(graph.nodes):
            self._convert(node)
        if output.name in self.halves:
            image, inner = output.name, graph.fresh_name("half")
            graph.rename(image, inner)
            output.name = image
            graph.nodes.append(_cast(inner, image, half=False))
        return graph.to_model()

    def _convert(self, node: onnx.NodeProto) -> None:
        schema = onnx.defs.get_schema(node.op_type, self.graph.opset, node.domain)
        for index, name in enumerate(node.input):
            if name in self.floats:
                node.input[index] = self._variant(node, name, half=_may_be_half(schema.inputs, index))
        converted = [name for i, name in enumerate(node.output) if name in self.floats and _may_be_half(schema.outputs, i)]
        if converted and _convert_attributes(node):
            self.halves.update(converted)

    def _variant(self, user: onnx.NodeProto, name: str, half: bool) -> str:
        """Return the name of a float tensor in the requested precision, converted before `user` if necessary."""
        if (name in self.halves) == half and name not in self.graph.constants:
            return name
        if (name, half) not in self.variants:
            self.variants[name, half] = self._make_variant(user, name, half)
        return self.variants[name, half]

    def _make_variant(self, user: onnx.NodeProto, name: str, half: bool) -> str:
        value = self.graph.constant(name)
        if value is not None:
            return self.graph.add_constant(_half(value, name), "half") if half else name
        other = self.graph.fresh_name("half" if half else "float")
        self.graph.insert_before(user, [_cast(name, other, half)])
        return other


def _float_tensors(graph: Graph) -> set[str]:
    typed = graph.to_model().graph
    values = [*typed.value_info, *typed.input, *typed.output]
    computed = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    return computed | {name for name, value in graph.constants.items() if value.dtype == np.float32}


def _may_be_half(formals: Iterable[onnx.defs.OpSchema.FormalParameter], index: int) -> bool:
    listed = list(formals)
    formal = listed[min(index, len(listed) - 1)]  # the last one may be variadic
    return "tensor(float16)" in formal.types


def _convert_attributes(node: onnx.NodeProto) -> bool:
    """Convert the attributes that determine the output type; return whether that is possible."""
    for attribute in node.attribute:
        if attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS):
            raise ConversionError(
                f"{node.op_type} {node.name!r} contains a subgraph, which fp16 does not support. Export fp32."
            )
        if attribute.name in ("to", "dtype") and attribute.i == TensorProto.FLOAT:
            attribute.i = TensorProto.FLOAT16
        if attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == TensorProto.FLOAT:
            value = _half(numpy_helper.to_array(attribute.t), node.name)
            attribute.t.CopyFrom(numpy_helper.from_array(value))
    if node.op_type == "ConstantOfShape" and not node.attribute:  # the default is a float32 zero
        node.attribute.append(helper.make_attribute("value", numpy_helper.from_array(np.zeros(1, np.float16))))
    return node.op_type != "Constant"  # Graph has removed those with tensors; others hold Python numbers, always float32


def _half(value: Array, name: str) -> Array:
    finite = np.abs(value[np.isfinite(value)])
    largest = float(finite.max(initial=0))
    if largest > LARGEST:
        raise ConversionError(
            f"the constant {name!r} contains {largest:g}, above {LARGEST:g}. Export fp32 or INT8, or train with weight decay."
        )
    half = value.astype(np.float16)
    if half.size == 1 and not half.any() and value.any():  # a tiny scalar prevents division by zero and must not be 0
        half = np.copysign(SMALLEST, value).astype(np.float16)
    return half


def _cast(source: str, target: str, half: bool) -> onnx.NodeProto:
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    return make_node("Cast", [source], [target], name=f"cast_{target}", to=kind)
