"""Conversion from Keras to ONNX by tf2onnx; the only module that imports it.

The model is converted at one fixed shape, so that all shape arithmetic folds to constants; `canonical` makes the sizes free
again. With free sizes the converter adds about thirty nodes of shape arithmetic to every transposed convolution, which no
optimizer removes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from dae_runtime.contract import INPUT_NAME, OUTPUT_NAME, SIGMA_NAME

from ..errors import ConversionError
from ..graph.model import Graph, attributes, set_attributes
from .keras_file import KerasModel, error_line
from .operators import keep_operators, write_standard

PROBE_BATCH = 2
_ATTEMPTS = 5


def convert(model: KerasModel, opset: int = 18) -> Graph:
    """Convert a Keras model at one fixed shape: (2, H, W, C) with the probe size of the model.

    Args:
        model: The model; it computes in float32.
        opset: ONNX opset, one of `options.OPSETS`.

    Returns:
        The graph of tf2onnx with our input and output names.

    Raises:
        ConversionError: tf2onnx cannot convert a layer.
    """
    try:
        with _quiet():
            proto = _run(model, opset, (PROBE_BATCH, *model.probe_size, model.channels))
    except Exception as error:  # tf2onnx and TensorFlow raise many types
        raise ConversionError(_problem(model, error_line(error))) from error
    write_standard(proto, model.fixed_size is not None)
    if unknown := sorted(_unknown_kinds(proto, opset)):
        raise ConversionError(_problem(model, f"no ONNX form of {', '.join(unknown)}"))
    _repair_pads(proto)
    graph = Graph(proto)
    graph.name = model.name
    graph.rename(graph.input.name, INPUT_NAME)
    graph.rename(graph.output.name, OUTPUT_NAME)
    return graph


def convert_plainly(model: KerasModel, opset: int = 18) -> onnx.ModelProto:
    """Convert a Keras model by plain tf2onnx with free sizes, as a baseline.

    Raises:
        ConversionError: tf2onnx cannot convert a layer.
    """
    height, width = model.fixed_size or (None, None)
    for _ in range(_ATTEMPTS):
        try:
            with _quiet():
                proto = _run(model, opset, (None, height, width, model.channels))
        except Exception as error:  # tf2onnx and TensorFlow raise many types
            raise ConversionError(_problem(model, error_line(error))) from error
        _rename_output(proto, OUTPUT_NAME)
        if _has_its_shapes(proto):
            return proto
    raise ConversionError(_problem(model, "the output has another shape in the converted graph"))


def _has_its_shapes(proto: onnx.ModelProto) -> bool:
    """Tell whether a graph with free sizes has the shapes that it states.

    The order in which tf2onnx takes nodes depends on their addresses; about one time in a hundred it loses the Squeeze before
    the output.
    """
    try:
        onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError:
        return False
    return True


def _run(model: KerasModel, opset: int, shape: tuple[int | None, ...]) -> onnx.ModelProto:
    import tensorflow
    import tf2onnx

    signature = [tensorflow.TensorSpec(shape, tensorflow.float32, name=INPUT_NAME)]
    if model.takes_sigma:
        signature.append(tensorflow.TensorSpec((shape[0], 1), tensorflow.float32, name=SIGMA_NAME))
    function = tensorflow.function(lambda *inputs: model.model(inputs if len(inputs) > 1 else inputs[0], training=False))
    with tensorflow.device("/CPU:0"), _without_xla():
        captured = function.get_concrete_function(*signature).graph.captures
        proto: Any
        proto, _ = tf2onnx.convert.from_function(function, signature, opset, custom_op_handlers=keep_operators())
    assert isinstance(proto, onnx.ModelProto)
    tensors = {inner.name: outer for outer, inner in captured if outer.dtype != tensorflow.resource}
    _fill_captured(proto, tensors)
    return proto


@contextmanager
def _without_xla() -> Iterator[None]:
    """Inline the functions that Keras compiles (convolutions in groups), which tf2onnx cannot read."""
    import tensorflow

    before = tensorflow.config.functions_run_eagerly()
    tensorflow.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tensorflow.config.run_functions_eagerly(before)


def _fill_captured(proto: onnx.ModelProto, tensors: Mapping[str, Any]) -> None:
    """Replace inputs that are tensors of the model, such as the mean of Normalization, by constants."""
    captured = [value for value in proto.graph.input if value.name in tensors]
    for value in captured:
        proto.graph.initializer.append(numpy_helper.from_array(np.asarray(tensors[value.name]), value.name))
        proto.graph.input.remove(value)


def _rename_output(proto: onnx.ModelProto, new: str) -> None:
    old, proto.graph.output[0].name = proto.graph.output[0].name, new
    for node in proto.graph.node:
        for names in (node.input, node.output):
            names[:] = [new if name == old else name for name in names]


def _repair_pads(proto: onnx.ModelProto) -> None:
    """Replace the negative pads of tf2onnx for transposed convolutions with kernel < stride."""
    for node in proto.graph.node:
        values = attributes(node)
        pads = values.get("pads", [])
        if node.op_type == "ConvTranspose" and any(n < 0 for n in pads):
            extra = [max(-pads[axis] - pads[axis + 2], 0) for axis in range(2)]
            set_attributes(node, values | {"pads": [max(n, 0) for n in pads], "output_padding": extra})


def _problem(model: KerasModel, reason: str) -> str:
    return (
        f"{model.where} cannot be converted to ONNX: {reason}. "
        "Expected layers such as convolutions, their transposes, normalization, activations, pooling and dense layers; "
        "replace the named layer."
    )


def _unknown_kinds(proto: onnx.ModelProto, opset: int) -> set[str]:
    # tf2onnx keeps unsupported operators under their TensorFlow names.
    return {n.op_type for n in proto.graph.node if n.domain not in ("", "ai.onnx") or not _defined(n.op_type, opset)}


def _defined(kind: str, opset: int) -> bool:
    try:
        onnx.defs.get_schema(kind, opset)
    except onnx.defs.SchemaError:
        return False
    return True


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the log of tf2onnx; its errors become ours."""
    logger = logging.getLogger("tf2onnx")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
