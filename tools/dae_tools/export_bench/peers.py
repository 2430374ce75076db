"""Other denoisers for comparison: shapes of published networks with random weights, and OpenCV's non-local means.

Sources:
    Zhang, Zuo, Chen, Meng, Zhang: Beyond a Gaussian denoiser: residual learning of deep CNN for image denoising. IEEE
    Transactions on Image Processing 26(7), 2017 (DnCNN).
    Zhang, Zuo, Zhang: FFDNet: toward a fast and flexible solution for CNN-based image denoising. IEEE Transactions on Image
    Processing 27(9), 2018.
    Buades, Coll, Morel: Non-local means denoising. Image Processing On Line 1, 2011.
"""

from __future__ import annotations

import importlib
import importlib.util
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from dae_runtime.contract import INPUT_NAME, OUTPUT_NAME
from dae_runtime.pixels.arrays import FloatArray

FFDNET_LAYERS = {1: (15, 64), 3: (12, 96)}
"""Convolutions and their channels, by the channels of the image."""
DNCNN_LAYERS = {1: (17, 64), 3: (20, 64)}
NLM_H = 25.0
"""Strength of non-local means for sigma 25: the best PSNR on photographs among 20, 25, 30 and 35."""
NLM_WINDOWS_PX = (7, 21)
"""Sides of template and search window: OpenCV's defaults."""
_OPSET = 18


def ffdnet(channels: int = 1) -> onnx.ModelProto:
    """Return a float32 graph of FFDNet's shape, from N x H x W x C to the same: 3x3 layers at half the resolution.

    The map of the noise level, one channel more at the first layer, is left out: a thousandth of the arithmetic.
    """
    layers, width = FFDNET_LAYERS[channels]
    return _plain_stack("ffdnet", channels, layers, width, packed=True)


def dncnn(channels: int = 1) -> onnx.ModelProto:
    """Return a float32 graph of DnCNN's shape, its normalizations folded: 3x3 layers throughout."""
    layers, width = DNCNN_LAYERS[channels]
    return _plain_stack("dncnn", channels, layers, width, packed=False)


def has_opencv() -> bool:
    """Tell whether OpenCV is installed."""
    return importlib.util.find_spec("cv2") is not None


def non_local_means(noisy: FloatArray, threads: int) -> Callable[[], FloatArray]:
    """Return a call of OpenCV's fast non-local means.

    Args:
        noisy: (1, H, W, 1 or 3) in [0, 1]; rounded to 8 bits for OpenCV, outside the timed call.
        threads: Threads of OpenCV, for the whole process.
    """
    cv2: Any = importlib.import_module("cv2")
    cv2.setNumThreads(threads)
    pixels = np.rint(np.clip(noisy[0], 0, 1) * 255).astype(np.uint8)
    if pixels.shape[2] == 1:
        return lambda: np.asarray(cv2.fastNlMeansDenoising(pixels, None, NLM_H, *NLM_WINDOWS_PX))
    return lambda: np.asarray(cv2.fastNlMeansDenoisingColored(pixels, None, NLM_H, NLM_H, *NLM_WINDOWS_PX))


def _plain_stack(name: str, channels: int, layers: int, width: int, packed: bool) -> onnx.ModelProto:
    edge = 4 * channels if packed else channels
    widths = [edge, *[width] * (layers - 1), edge]
    tensors = list(_weights(widths))
    nodes = list(_nodes(layers, packed))
    shape: list[str | int | None] = ["batch", "height", "width", channels]
    ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, shape) for end in (INPUT_NAME, OUTPUT_NAME)]
    graph = helper.make_graph(nodes, name, ends[:1], ends[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=9)


def _weights(widths: list[int]) -> Iterator[onnx.TensorProto]:
    rng = np.random.default_rng(0)
    for layer, (before, after) in enumerate(itertools.pairwise(widths)):
        kernel = rng.normal(0, (2 / (9 * before)) ** 0.5, (after, before, 3, 3))
        yield numpy_helper.from_array(kernel.astype(np.float32), f"weight_{layer}")
        yield numpy_helper.from_array(np.zeros(after, np.float32), f"bias_{layer}")


def _nodes(layers: int, packed: bool) -> Iterator[onnx.NodeProto]:
    last = INPUT_NAME

    def node(kind: str, *more: str, to: str, **attributes: Any) -> onnx.NodeProto:
        nonlocal last
        before, last = last, to
        return helper.make_node(kind, [before, *more], [last], last, **attributes)

    yield node("Transpose", to="x", perm=[0, 3, 1, 2])
    if packed:
        yield node("SpaceToDepth", to="packed", blocksize=2)
    for i in range(layers):
        same = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [1, 1], "dilations": [1, 1], "group": 1}
        yield node("Conv", f"weight_{i}", f"bias_{i}", to=f"conv_{i}", **same)
        if i < layers - 1:
            yield node("Relu", to=f"relu_{i}")
    if packed:
        yield node("DepthToSpace", to="unpacked", blocksize=2)
    yield node("Transpose", to=OUTPUT_NAME, perm=[0, 2, 3, 1])
