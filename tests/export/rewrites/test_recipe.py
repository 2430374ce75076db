"""Every rewrite keeps the function of random stacks of convolutions, and changes the graph where it says so."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from dae_export.precision import calibrate, quantize, round_weights
from dae_export.rewrites import Recipe, apply, recipe
from dae_export.rewrites.kernels import Convolution, as_convolution, blocked, keeps_grid, subpixels, trimmed
from dae_runtime.engine.session import open_session

RECIPES = (*dict.fromkeys(recipe.FLOAT_CANDIDATES + recipe.INTEGER_CANDIDATES), recipe.DEPTH_TO_SPACE)
ACTIVATIONS = (None, "LeakyRelu", "Relu", "Sigmoid", "Tanh", "Clip")


@dataclass(frozen=True)
class Layer:
    kind: str
    kernel: tuple[int, int]
    stride: int
    channels: int
    bias: bool
    activation: str | None


def same_pads(kernel: tuple[int, int], stride: int) -> list[int]:
    totals = [max(k - stride, 0) for k in kernel]
    begins = [total // 2 for total in totals]
    return begins + [total - begin for total, begin in zip(totals, begins, strict=True)]


def build(
    layers: list[Layer], channels: int, seed: int = 0, size: tuple[int, int] | None = None
) -> tuple[onnx.ModelProto, int]:
    """Return a canonical model of a stack of layers, and its alignment."""
    rng = np.random.default_rng(seed)
    nodes = [helper.make_node("Transpose", ["noisy"], ["x0"], "to_nchw", perm=[0, 3, 1, 2])]
    constants, x, c_in, scale, alignment = [], "x0", channels, 1, 1
    for number, layer in enumerate(layers):
        shape = (layer.channels, c_in) if layer.kind == "Conv" else (c_in, layer.channels)
        weights = rng.standard_normal((*shape, *layer.kernel)) / math.sqrt(c_in * math.prod(layer.kernel))
        inputs = [x, f"w{number}"]
        constants.append(numpy_helper.from_array(weights.astype(np.float32), f"w{number}"))
        if layer.bias:
            constants.append(numpy_helper.from_array(rng.standard_normal(layer.channels).astype(np.float32), f"b{number}"))
            inputs.append(f"b{number}")
        attributes = {
            "kernel_shape": layer.kernel,
            "strides": [layer.stride] * 2,
            "pads": same_pads(layer.kernel, layer.stride),
        }
        if layer.kind == "ConvTranspose":
            attributes["output_padding"] = [max(layer.stride - k, 0) for k in layer.kernel]
            scale *= layer.stride
        else:
            scale /= layer.stride
        alignment = max(alignment, round(1 / scale))
        nodes.append(helper.make_node(layer.kind, inputs, [f"y{number}"], f"layer{number}", **attributes))
        x, c_in = f"y{number}", layer.channels
        if layer.activation:
            extra = {"alpha": 0.3} if layer.activation == "LeakyRelu" else {}
            nodes.append(helper.make_node(layer.activation, [x], [f"a{number}"], f"activation{number}", **extra))
            x = f"a{number}"
    nodes.append(helper.make_node("Transpose", [x], ["denoised"], "to_nhwc", perm=[0, 2, 3, 1]))
    height, width = size or ("H", "W")
    image = helper.make_tensor_value_info("noisy", TensorProto.FLOAT, ["N", height, width, channels])
    out = helper.make_tensor_value_info("denoised", TensorProto.FLOAT, ["N", None, None, c_in])
    graph = helper.make_graph(nodes, "stack", [image], [out], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model, alignment


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    return open_session(model.SerializeToString(), "cpu", 1).run(None, {"noisy": x})[0]


def kinds(model: onnx.ModelProto) -> Counter:
    return Counter(node.op_type for node in model.graph.node)


layer_strategy = st.builds(
    Layer,
    st.sampled_from(["Conv", "ConvTranspose"]),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.sampled_from([1, 1, 2]),
    st.sampled_from([1, 2, 3, 4, 5, 8, 15, 16, 17, 32, 64]),
    st.booleans(),
    st.sampled_from(ACTIVATIONS),
)


@pytest.mark.parametrize("chosen", RECIPES, ids=lambda r: r.name)
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    layers=st.lists(layer_strategy, min_size=1, max_size=4),
    channels=st.sampled_from([1, 3]),
    blocks=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    extra=st.integers(0, 2),
)
def test_any_stack_keeps_its_function(
    chosen: Recipe, layers: list[Layer], channels: int, blocks: tuple[int, int], extra: int
) -> None:
    model, alignment = build(layers, channels)
    alignment *= 2**extra  # a caller may demand more than the network needs
    rewritten = apply(model, chosen, alignment)
    shape = (2, blocks[0] * alignment, blocks[1] * alignment, channels)
    x = np.random.default_rng(1).random(shape, dtype=np.float32)
    expected, received = run(model, x), run(rewritten, x)
    assert received.shape == expected.shape
    np.testing.assert_allclose(received, expected, atol=1e-5, rtol=1e-5)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(layers=st.lists(layer_strategy, min_size=1, max_size=3), chosen=st.sampled_from(RECIPES))
def test_fixed_sizes_keep_their_function(layers: list[Layer], chosen: Recipe) -> None:
    model, _ = build(layers, 1, size=(28, 24))
    if any(layer.stride == 2 and layer.kind == "Conv" for layer in layers[3:]):
        return
    x = np.random.default_rng(1).random((3, 28, 24, 1), dtype=np.float32)
    np.testing.assert_allclose(run(apply(model, chosen, 1), x), run(model, x), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("chosen", [recipe.INTEGER_PHASES, recipe.INTEGER_ROWS, recipe.INTEGER_SUMS], ids=lambda r: r.name)
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(layers=st.lists(layer_strategy, min_size=1, max_size=3), channels=st.sampled_from([1, 3]))
@example(layers=[Layer("ConvTranspose", (1, 1), 2, 4, True, "Relu")], channels=3)  # most sums of it are a bias alone
def test_int8_of_any_stack_is_as_good_as_that_of_the_canonical_graph(
    chosen: Recipe, layers: list[Layer], channels: int
) -> None:
    # A sigmoid at the end, because the pixels of an INT8 model end at 0 and 1.
    model, alignment = build([*layers, Layer("Conv", (1, 1), 1, channels, True, "Sigmoid")], channels)
    x = np.random.default_rng(1).random((2, 4 * alignment, 4 * alignment, channels), dtype=np.float32)
    expected, error = run(model, x), {}
    for form in (model, apply(model, chosen, alignment)):
        received = run(quantize(form, calibrate(form, [x]), (), round_weights(form, [x], alignment)), x)
        error[form is model] = float(np.sqrt(np.mean(np.square(received - expected))))
    assert error[False] < 0.03
    assert error[False] < 1.6 * error[True] + 0.003  # which rounding an element gets is chance


SEED_NETWORK = [
    Layer("Conv", (3, 3), 1, 32, True, "LeakyRelu"),
    Layer("Conv", (3, 3), 2, 64, True, "LeakyRelu"),
    Layer("Conv", (3, 3), 2, 128, True, "LeakyRelu"),
    Layer("ConvTranspose", (3, 3), 2, 64, True, "LeakyRelu"),
    Layer("ConvTranspose", (3, 3), 2, 32, True, "LeakyRelu"),
    Layer("ConvTranspose", (3, 3), 1, 1, True, "Sigmoid"),
]


def test_rows_need_one_depth_to_space_at_the_very_end() -> None:
    model, alignment = build(SEED_NETWORK, 1)
    rewritten = apply(model, recipe.INTEGER_ROWS, alignment)
    count = kinds(rewritten)
    assert count["ConvTranspose"] == 0
    assert count["Slice"] == count["Shape"] == count["Gather"] == 0
    assert (count["Conv"], count["Concat"], count["DepthToSpace"]) == (8, 2, 1)
    weights = {tensor.name: tensor.dims for tensor in rewritten.graph.initializer}
    for node in rewritten.graph.node:
        if node.op_type == "Conv":
            assert weights[node.input[1]][0] % 16 == 0, "an output width off the fast path"


def test_phases_multiply_no_more_than_the_network_itself() -> None:
    model, alignment = build(SEED_NETWORK[:5], 1)
    rewritten = apply(model, recipe.PHASES, alignment)

    def upsampling_taps(m: onnx.ModelProto, first: int) -> int:
        dims = [t.dims for t in m.graph.initializer if len(t.dims) == 4 and {32, 64, 128} >= set(t.dims[:2])]
        return sum(math.prod(d) for d in dims[first:])

    assert kinds(rewritten)["ConvTranspose"] == 0
    assert upsampling_taps(rewritten, 0) == upsampling_taps(model, 0)


def test_rewrites_skip_unknown_nodes() -> None:
    model, alignment = build(SEED_NETWORK, 1)
    unknown = onnx.ModelProto()
    unknown.CopyFrom(model)
    for node in unknown.graph.node:
        if node.op_type == "ConvTranspose":
            node.attribute.append(helper.make_attribute("group", 1))
            node.attribute.append(helper.make_attribute("auto_pad", "SAME_UPPER"))
            for pads in [a for a in node.attribute if a.name in ("pads", "output_padding")]:
                node.attribute.remove(pads)
    rewritten = apply(unknown, recipe.INTEGER_ROWS, alignment)
    assert kinds(rewritten)["ConvTranspose"] == 3
    x = np.random.default_rng(0).random((1, 8, 8, 1), dtype=np.float32)
    np.testing.assert_allclose(run(rewritten, x), run(unknown, x), atol=1e-6)


def test_the_source_model_is_not_changed() -> None:
    model, alignment = build(SEED_NETWORK, 1)
    before = model.SerializeToString()
    apply(model, recipe.INTEGER_ROWS, alignment)
    assert model.SerializeToString() == before


def convolve(x: np.ndarray, convolution: Convolution) -> np.ndarray:
    """Convolve (C, H, W) the slow and certain way."""
    top, left, bottom, right = convolution.pads
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right)))
    rows, columns = convolution.weights.shape[2:]
    windows = np.lib.stride_tricks.sliding_window_view(padded, (rows, columns), axis=(1, 2))
    windows = windows[:, :: convolution.strides[0], :: convolution.strides[1]]
    return np.einsum("chwij,ocij->ohw", windows, convolution.weights)


def pack(x: np.ndarray, block: tuple[int, int]) -> np.ndarray:
    c, h, w = x.shape
    parts = x.reshape(c, h // block[0], block[0], w // block[1], block[1])
    return parts.transpose(2, 4, 0, 1, 3).reshape(block[0] * block[1] * c, h // block[0], w // block[1])


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("out_block", [1, 2, 4])
def test_a_blocked_convolution_is_the_same_in_blocks(kernel: int, stride: int, out_block: int) -> None:
    rng = np.random.default_rng(0)
    pads = same_pads((kernel, kernel), stride)
    whole = Convolution(rng.standard_normal((2, 3, kernel, kernel)).astype(np.float32), tuple(pads), (stride, stride))
    assert keeps_grid(kernel, stride, pads[0], pads[2])
    x = rng.standard_normal((3, 16, 8)).astype(np.float32)
    expected = pack(convolve(x, whole), (out_block, out_block))
    for in_block in (b for b in (1, 2, 4) if stride * out_block % b == 0):
        part = blocked(whole, (out_block, out_block), (in_block, in_block))
        received = convolve(pack(x, (in_block, in_block)), part)
        np.testing.assert_allclose(received, expected, atol=1e-5)
        np.testing.assert_allclose(convolve(pack(x, (in_block, in_block)), trimmed(part)), expected, atol=1e-5)


def test_subpixels_of_the_seed_kernel_have_nine_taps_in_all() -> None:
    weights = np.ones((1, 1, 3, 3), np.float32)
    parts = [subpixels(weights, (2, 2), (0, 0), range(p, p + 1), range(q, q + 1)) for p in (0, 1) for q in (0, 1)]
    assert [part.weights.size for part in parts] == [4, 2, 2, 1]


def test_stride_one_is_the_mirrored_kernel() -> None:
    weights = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
    convolution = as_convolution(weights, (1, 1, 1, 1))
    impulse = np.zeros((1, 5, 5), np.float32)
    impulse[0, 2, 2] = 1
    np.testing.assert_array_equal(convolve(impulse, convolution)[0, 1:4, 1:4], weights[0, 0])
