"""Integer layers of every kind with adversarial weights, run here; prints the largest difference from the exact result.

The weights are of one sign for each output channel, and of two neighbors one is large and one small, with a sum up to the
limit. The data are 255, or random. An engine that pairs other products than `neighbors` says shows at once. With the
argument `unlimited` the weights are all 127 and -127, which a kernel that cuts off sums must get wrong.
"""

from __future__ import annotations

import sys

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from dae_export.precision.exactness import as_rows, from_rows, neighbors
from dae_export.precision.integer_weights import round_rows

LAYERS = [
    ("Conv", (16, 16, 3, 3), 1),
    ("Conv", (16, 4, 2, 2), 1),
    ("Conv", (16, 3, 3, 3), 1),
    ("Conv", (16, 5, 1, 1), 1),
    ("Conv", (16, 1, 3, 3), 1),
    ("Conv", (16, 4, 3, 3), 4),
    ("Conv", (15, 3, 3, 3), 5),
    ("Conv", (16, 1, 3, 3), 16),
    ("Conv", (16, 1, 5, 5), 16),
    ("MatMul", (33, 16), 1),
    ("Gemm", (16, 40), 1),
]


def difference(kind: str, shape: tuple[int, ...], group: int, limited: bool) -> int:
    """Return the largest difference of the engine's output from the exact one, in steps of 8 bits."""
    random = np.random.default_rng(sum(shape))
    options = {"group": group} if kind == "Conv" else {"transB": 1} if kind == "Gemm" else {}
    node = helper.make_node(kind, ["x_float", "w_float"], ["y_float"], **options)
    rows = np.asarray(as_rows(random.uniform(0.5, 1, shape), node), float)
    rows *= np.where(np.arange(len(rows)) % 2, -1, 1)[:, None]
    pairs = neighbors(shape, node)
    for first, second in pairs:  # one of each pair is large, at random: two of other pairs may both be
        rows[:, second if random.random() < 0.5 else first] *= 0.05
    values = round_rows(rows, pairs)[0] if limited else np.where(rows > 0, 127, -127)
    weights = np.asarray(from_rows(values, shape, node)).astype(np.int8)
    channels = shape[1] * group if kind == "Conv" else rows.shape[1]
    size = (2, channels, 9, 8) if kind == "Conv" else (24, channels)
    data = np.where(random.random(size) < 0.5, 255, random.integers(0, 256, size)).astype(np.uint8)
    data[:1] = 255
    outputs = len(values)
    scale = np.float32(rows.shape[1] * 255 * 128 / 255 * 2)  # outputs stay within 0..255 around 128
    edges = [
        helper.make_tensor_value_info("x", TensorProto.UINT8, list(size)),
        helper.make_tensor_value_info("y", TensorProto.UINT8, None),
    ]
    axis = 1 if kind == "MatMul" else 0
    ones = np.ones(outputs, np.float32)
    constants = {"one": np.float32(1), "zero": np.uint8(0), "w": weights, "ones": ones, "zeros": np.zeros(outputs, np.int8)}
    constants |= {"scale": scale, "middle": np.uint8(128)}
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "one", "zero"], ["x_float"]),
        helper.make_node("DequantizeLinear", ["w", "ones", "zeros"], ["w_float"], axis=axis),
        node,
        helper.make_node("QuantizeLinear", ["y_float", "scale", "middle"], ["y"]),
    ]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "layer", edges[:1], edges[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8).SerializeToString()
    results = []
    for level in (onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL, onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL):
        settings = onnxruntime.SessionOptions()
        settings.graph_optimization_level, settings.intra_op_num_threads, settings.log_severity_level = level, 1, 3
        session = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
        results.append(session.run(None, {"x": data})[0].astype(int))
    return int(np.abs(results[0] - results[1]).max())


if __name__ == "__main__":
    for layer in LAYERS:
        print(*layer, difference(*layer, limited="unlimited" not in sys.argv), sep="; ")
