"""An editable ONNX graph, the data structure of all passes.

`onnx.ModelProto` stores lists of messages without links. `Graph` holds the same nodes in a Python list and the constants as
arrays by name, finds producers and consumers of a tensor, and converts to a checked `ModelProto`. Models here have tens of
nodes, so linear search is fast enough.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from dae_runtime.contract import SIGMA_NAME

from ..errors import ConversionError

Array = npt.NDArray[Any]
Shape = tuple[int | None, ...]

PRODUCER = "dae-toolkit"
TO_NCHW, TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)
"""Permutations at input and output: images are N, H, W, C; convolutions need N, C, H, W."""
ELEMENTWISE = frozenset({"LeakyRelu", "Relu", "Elu", "Selu", "Sigmoid", "Tanh", "Softplus", "Softsign", "HardSigmoid", "Clip"})
"""Elementwise activations."""


class Graph:
    """One image in, one out, nodes in topological order, constants by name; a noise level may come in beside the image."""

    def __init__(self, model: onnx.ModelProto) -> None:
        """Copy `model`.

        Args:
            model: A model with one output and one input, or a second one named `sigma`, not counting initializers.

        Raises:
            ConversionError: The model has other inputs or outputs.
        """
        source = model.graph
        self.constants: dict[str, Array] = {t.name: numpy_helper.to_array(t).copy() for t in source.initializer}
        inputs = [value for value in source.input if value.name not in self.constants]
        levels = [value for value in inputs if value.name == SIGMA_NAME]
        inputs = [value for value in inputs if value not in levels]
        if len(inputs) != 1 or len(source.output) != 1:
            raise ConversionError(
                f"expected a graph with one input (beside {SIGMA_NAME!r}) and one output, received {len(inputs)} and "
                f"{len(source.output)}."
            )
        self.name = source.name
        self.opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
        self.input = _copy(inputs[0])
        self.sigma = _copy(levels[0]) if levels else None
        """The noise level, (N, 1), of graphs that are given it."""
        self.output = _copy(source.output[0])
        self.nodes: list[onnx.NodeProto] = []
        for node in source.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self.constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t).copy()
            else:
                self.nodes.append(_copy(node))
        self.shapes: dict[str, Shape] = {}
        self.clean()  # some exporters do not sort the nodes
        self.infer_shapes()

    # --- questions -------------------------------------------------------------------------------------------------

    def producer(self, tensor: str) -> onnx.NodeProto | None:
        """Return the node that computes `tensor`; None for the input and constants."""
        return next((node for node in self.nodes if tensor in node.output), None)

    def consumers(self, tensor: str) -> list[onnx.NodeProto]:
        """Return the nodes that use `tensor`, not counting the graph output."""
        return [node for node in self.nodes if tensor in node.input]

    def only_consumer(self, tensor: str) -> onnx.NodeProto | None:
        """Return the only user of `tensor`, or None if it has several or is the graph output."""
        users = self.consumers(tensor)
        return users[0] if len(users) == 1 and tensor != self.output.name else None

    def constant(self, tensor: str) -> Array | None:
        """Return the value of a constant tensor, or None if it is computed."""
        return self.constants.get(tensor)

    def of_sigma(self) -> set[str]:
        """Return the tensors that depend on the noise level, but not on the image; the level itself is one."""
        found = {self.sigma.name} if self.sigma else set()
        for node in self.nodes:
            computed = [name for name in node.input if name and name not in self.constants]
            if computed and found.issuperset(computed):
                found.update(node.output)
        return found

    def kinds(self) -> dict[str, int]:
        """Return the number of nodes of each kind."""
        return dict(Counter(node.op_type for node in self.nodes))

    # --- edits -----------------------------------------------------------------------------------------------------

    def fresh_name(self, hint: str) -> str:
        """Return an unused tensor name."""
        used = self._tensors()
        return next(name for name in (f"{hint}_{i}" for i in itertools.count()) if name not in used)

    def add_constant(self, value: Array, hint: str = "constant") -> str:
        """Store a constant and return its name."""
        name = self.fresh_name(hint)
        self.constants[name] = np.ascontiguousarray(value)
        return name

    def replace(self, old: onnx.NodeProto, new: Iterable[onnx.NodeProto]) -> None:
        """Replace `old` by `new`, which must compute the outputs of `old` unless they are redirected."""
        position = self._position(old)
        self.nodes[position : position + 1] = list(new)

    def insert_before(self, node: onnx.NodeProto, new: Iterable[onnx.NodeProto]) -> None:
        """Insert `new` before `node`."""
        position = self._position(node)
        self.nodes[position:position] = list(new)

    def remove(self, node: onnx.NodeProto) -> None:
        """Remove `node`."""
        del self.nodes[self._position(node)]

    def redirect(self, old: str, new: str) -> None:
        """Replace tensor `old` by `new` in all consumers and as graph output."""
        for node in self.consumers(old):
            for index, name in enumerate(node.input):
                if name == old:
                    node.input[index] = new
        if old == self.output.name:
            self.output.name = new

    def bypass(self, node: onnx.NodeProto) -> None:
        """Remove a node with one output and redirect its consumers to its first input."""
        self.remove(node)
        self.redirect(node.output[0], node.input[0])

    def rename(self, old: str, new: str) -> None:
        """Rename a tensor everywhere."""
        assert old == new or new not in self._tensors(), f"tensor {new} exists"
        for node in self.nodes:
            for names in (node.input, node.output):
                for index, name in enumerate(names):
                    if name == old:
                        names[index] = new
        for value in (*self._inputs(), self.output):
            if value.name == old:
                value.name = new
        if old in self.constants:
            self.constants[new] = self.constants.pop(old)
        if old in self.shapes:
            self.shapes[new] = self.shapes.pop(old)

    def set_dimensions(self, input_dims: Sequence[int | str], output_dims: Sequence[int | str]) -> None:
        """Declare the shapes of the images at input and output: an integer is fixed, a string names a free dimension."""
        edges = [(self.input, input_dims), (self.output, output_dims)]
        if self.sigma:
            edges.append((self.sigma, (input_dims[0], 1)))
        for value, dims in edges:
            element = value.type.tensor_type.elem_type
            value.CopyFrom(helper.make_tensor_value_info(value.name, element, list(dims)))

    # --- the whole ---------------------------------------------------------------------------------------------------

    def clean(self) -> None:
        """Sort the nodes topologically, and drop unused nodes and constants."""
        ordered: list[onnx.NodeProto] = []
        done: set[str] = set()

        def visit(tensor: str) -> None:
            node = self.producer(tensor)
            if node is None or tensor in done:
                return
            done.update(node.output)
            for name in node.input:
                visit(name)
            ordered.append(node)

        visit(self.output.name)
        self.nodes = ordered
        used = {name for node in ordered for name in node.input}
        self.constants = {name: value for name, value in self.constants.items() if name in used}

    def infer_shapes(self) -> None:
        """Fill `shapes` by strict ONNX shape inference.

        Raises:
            ConversionError: The shapes are inconsistent.
        """
        inferred = _inferred(self._assemble())
        values = itertools.chain(inferred.graph.value_info, inferred.graph.input, inferred.graph.output)
        self.shapes = {value.name: _shape(value) for value in values}
        self.shapes |= {name: value.shape for name, value in self.constants.items()}

    def to_model(self) -> onnx.ModelProto:
        """Return the graph as a checked model with the shape of every tensor.

        Raises:
            ConversionError: The graph is not valid ONNX.
        """
        self.clean()
        model = _inferred(self._assemble())
        try:
            onnx.checker.check_model(model, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            raise ConversionError(f"the converted graph is not valid ONNX: {_first_line(error)}") from error
        return model

    def _assemble(self) -> onnx.ModelProto:
        tensors = [numpy_helper.from_array(value, name) for name, value in self.constants.items()]
        graph = helper.make_graph(self.nodes, self.name, self._inputs(), [self.output], initializer=tensors)
        opsets = [helper.make_opsetid("", self.opset)]
        # The oldest IR version for the opset is the most compatible one.
        ir_version = helper.find_min_ir_version_for(opsets)
        return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version, producer_name=PRODUCER)

    def _position(self, node: onnx.NodeProto) -> int:
        return next(i for i, candidate in enumerate(self.nodes) if candidate is node)

    def _tensors(self) -> set[str]:
        names = {name for node in self.nodes for name in (*node.input, *node.output)}
        return names | set(self.constants) | {value.name for value in (*self._inputs(), self.output)}

    def _inputs(self) -> list[onnx.ValueInfoProto]:
        return [self.input, self.sigma] if self.sigma else [self.input]


def make_node(kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> onnx.NodeProto:
    """Return a node of the standard ONNX domain; attributes of None are omitted."""
    return helper.make_node(kind, inputs, outputs, **{k: v for k, v in attributes.items() if v is not None})


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Return the attributes of a node as Python values: `str`, lists, numbers."""
    values = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return {
        name: value.decode() if isinstance(value, bytes) else list(value) if isinstance(value, Iterable) else value
        for name, value in values.items()
    }


def set_attributes(node: onnx.NodeProto, values: Mapping[str, Any]) -> None:
    """Replace all attributes of a node, except those of None."""
    del node.attribute[:]
    node.attribute.extend(helper.make_attribute(name, value) for name, value in values.items() if value is not None)


def _copy(message: Any) -> Any:
    other = type(message)()
    other.CopyFrom(message)
    return other


def _inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError) as error:
        raise ConversionError(f"the shapes in the graph are inconsistent: {_first_line(error)}") from error


def _shape(value: onnx.ValueInfoProto) -> Shape:
    dims = value.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.HasField("dim_value") else None for d in dims)


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
