"""uint8 edges: the same function on 8-bit pixels, integers from edge to edge in INT8, files that the runtime feeds bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from builders import model_bytes, random_pixels, tiny_contract
from dae_export.measure.quality import run_on_floats
from dae_export.precision import calibrate, quantize, to_float16, to_uint8
from dae_export.precision.uint8_edges import PIXEL_SCALE
from dae_export.product.model_file import GOLDEN_TOLERANCE, golden_sample
from dae_runtime import Denoiser
from dae_runtime.contract import ImageSpec
from dae_runtime.diagnosis.self_test import self_test
from dae_runtime.engine.session import open_session


def run(model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    return open_session(model.SerializeToString(), "cpu", 1).run(None, {"noisy": images})[0]


def as_floats(pixels: np.ndarray) -> np.ndarray:
    return (pixels / 255).astype(np.float32)


def rounded(images: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(images.astype(np.float64) * 255), 0, 255).astype(np.uint8)


def assert_rounded(received: np.ndarray, floats: np.ndarray) -> None:
    """Assert that pixels are rounded floats; where a float is as good as halfway between two steps, either will do."""
    expected, steps = rounded(floats), floats.astype(np.float64) * 255
    halfway = np.abs(steps - np.floor(steps) - 0.5) < 1e-3
    assert received.dtype == np.uint8
    assert np.abs(received.astype(int) - expected).max() <= 1
    assert np.mean((received == expected) | halfway) >= 0.999


def stack(kinds: list[str], channels: int, seed: int, skip: bool) -> onnx.ModelProto:
    """Return a float model of layers with random weights; with `skip` the image is added to its output."""
    rng = np.random.default_rng(seed)
    nodes, constants, x, width = [], [], "x", channels
    for number, kind in enumerate([*kinds, "Conv"]):
        y, attributes = f"y{number}", {}
        inputs = [x]
        if kind.startswith("Conv"):
            outputs = channels if number == len(kinds) else 8
            shape = (outputs, width) if kind == "Conv" else (width, outputs)
            values = rng.standard_normal((*shape, 3, 3)) / np.sqrt(9 * width)
            constants.append(numpy_helper.from_array(values.astype(np.float32), f"w{number}"))
            inputs, attributes, width = [x, f"w{number}"], {"pads": [1] * 4, "kernel_shape": [3, 3]}, outputs
        nodes.append(helper.make_node(kind, inputs, [y], f"layer_{number}", **attributes))
        x = y
    nodes.insert(0, helper.make_node("Transpose", ["noisy"], ["x"], "to_nchw", perm=[0, 3, 1, 2]))
    last = "before" if skip else "denoised"
    nodes.append(helper.make_node("Transpose", [x], [last], "to_nhwc", perm=[0, 2, 3, 1]))
    if skip:
        nodes.append(helper.make_node("Add", ["noisy", last], ["denoised"], "skip"))
    edges = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", "H", "W", channels]) for n in ("noisy", "denoised")]
    graph = helper.make_graph(nodes, "stack", edges[:1], edges[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


layers = st.lists(st.sampled_from(["Conv", "ConvTranspose", "LeakyRelu", "Relu", "Sigmoid"]), max_size=4)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@settings(max_examples=15, deadline=None, derandomize=True)
@given(kinds=layers, channels=st.sampled_from([1, 3]), seed=st.integers(0, 99), skip=st.booleans())
def test_any_float_stack_gives_the_rounded_output(precision: str, kinds: list[str], channels: int, seed: int, skip: bool):
    model = stack(kinds, channels, seed, skip)
    model = to_float16(model) if precision == "fp16" else model
    before = model.SerializeToString()
    pixels = random_pixels((2, 24, 26, channels), seed=seed)
    np.testing.assert_array_equal(run(to_uint8(model, precision), pixels), rounded(run(model, as_floats(pixels))))
    assert model.SerializeToString() == before


@settings(max_examples=15, deadline=None, derandomize=True)
@given(kinds=layers, channels=st.sampled_from([1, 3]), seed=st.integers(0, 99), skip=st.booleans())
def test_any_int8_stack_is_exactly_the_rounded_output(kinds: list[str], channels: int, seed: int, skip: bool):
    model = stack(kinds, channels, seed, skip)
    noisy = as_floats(random_pixels((2, 24, 26, channels), seed=seed))
    int8 = quantize(model, calibrate(model, [noisy]))
    pixels = random_pixels((2, 24, 26, channels), seed=seed + 1)
    eight = to_uint8(int8, "int8")
    np.testing.assert_array_equal(run(eight, pixels), rounded(run(int8, as_floats(pixels))))
    if not skip:  # the sum with the image is in float: its conversions stay
        assert len(eight.graph.node) <= len(int8.graph.node) - 2


def first_kind(model: onnx.ModelProto) -> str:
    return next(n.op_type for n in model.graph.node if "noisy" in n.input)


def last_kind(model: onnx.ModelProto) -> str:
    return next(n.op_type for n in model.graph.node if "denoised" in n.output)


@pytest.fixture(scope="module")
def int8(blur_denoiser, pictures) -> onnx.ModelProto:
    return quantize(blur_denoiser, calibrate(blur_denoiser, [pictures(16, 32)[0]]))


def test_in_int8_both_conversions_at_the_edges_are_removed(int8):
    assert (first_kind(int8), last_kind(int8)) == ("QuantizeLinear", "DequantizeLinear")
    eight = to_uint8(int8, "int8")
    assert (first_kind(eight), last_kind(eight)) == ("DequantizeLinear", "QuantizeLinear")
    assert len(eight.graph.node) == len(int8.graph.node) - 2


def test_a_float_model_is_not_declared_quantized(blur_denoiser):
    """Engines quantize the weights between a DequantizeLinear and a QuantizeLinear, whether they are INT8 or not."""
    kinds = {node.op_type for node in to_uint8(blur_denoiser, "fp32").graph.node}
    assert not kinds & {"QuantizeLinear", "DequantizeLinear"}


def test_the_engine_runs_integers_from_edge_to_edge(int8, tmp_path: Path):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 4
    model = to_uint8(int8, "int8").SerializeToString()
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert "QLinearConv" in kinds
    assert set(kinds) <= {"QLinearConv", "QLinearLeakyRelu", "Transpose"}


def test_every_pixel_value_survives_the_edges():
    model = stack([], 1, 0, skip=False)
    one = np.zeros((1, 1, 3, 3), np.float32)
    one[0, 0, 1, 1] = 1
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(one, "w0"))
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    for precision, same in (("fp32", model), ("fp16", to_float16(model))):
        np.testing.assert_array_equal(run(to_uint8(same, precision), pixels), pixels)


def test_values_beyond_the_range_are_clipped(blur_denoiser):
    model = onnx.ModelProto()
    model.CopyFrom(blur_denoiser)
    for tensor in model.graph.initializer:
        if tensor.name == "b2":
            tensor.CopyFrom(numpy_helper.from_array(np.array([0.8], np.float32), "b2"))
    assert run(model, np.ones((1, 8, 8, 1), np.float32)).max() > 1
    assert run(to_uint8(model, "fp32"), np.full((1, 8, 8, 1), 255, np.uint8))[0, 4, 4, 0] == 255


@pytest.mark.parametrize("keep", [["to_nchw", "layer_0"], ["layer_2", "to_nhwc"], ["to_nchw", "layer_0", "layer_2"]])
def test_float_layers_at_the_edges_get_floats(pictures, keep):
    noisy = pictures(4, 32)[0]
    floats = stack(["Conv", "LeakyRelu"], 1, 0, skip=False)
    model = quantize(floats, calibrate(floats, [noisy]), keep)
    pixels = rounded(noisy)
    assert_rounded(run(to_uint8(model, "int8"), pixels), run(model, as_floats(pixels)))


def test_another_step_at_the_edge_is_kept(int8):
    """A scale that is not 1/255 is no identity on pixels, so its nodes stay."""
    model = onnx.ModelProto()
    model.CopyFrom(int8)
    scales = {node.input[1] for node in model.graph.node if "noisy" in node.input or "denoised" in node.output}
    for tensor in model.graph.initializer:
        if tensor.name in scales:
            assert numpy_helper.to_array(tensor) == PIXEL_SCALE
            tensor.CopyFrom(numpy_helper.from_array(np.array(1 / 200, np.float32), tensor.name))
    pixels = random_pixels((1, 16, 16, 1))
    assert_rounded(run(to_uint8(model, "int8"), pixels), run(model, as_floats(pixels)))


def test_floats_go_through_either_kind_of_edge(blur_denoiser, pictures):
    noisy = pictures(3, 16)[0]
    floats, pixels = (open_session(m.SerializeToString()) for m in (blur_denoiser, to_uint8(blur_denoiser, "fp32")))
    np.testing.assert_array_equal(run_on_floats(floats, noisy), run(blur_denoiser, noisy))
    received = run_on_floats(pixels, noisy)
    assert received.dtype == np.float32
    np.testing.assert_allclose(received, run(blur_denoiser, noisy), atol=1.01 / 255)


# --- the whole file, as the runtime uses it ---------------------------------------------------------------------------------


def file_of(model: onnx.ModelProto, precision: str, noisy: np.ndarray) -> bytes:
    golden = golden_sample(model.SerializeToString(), noisy, precision, ImageSpec(1))
    return model_bytes(model, tiny_contract(golden, precision, name="blur", io_dtype="uint8", halo_px=2))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_golden_sample_is_in_pixels_and_the_self_test_passes(blur_denoiser, int8, pictures, precision):
    model = {"fp32": blur_denoiser, "fp16": to_float16(blur_denoiser), "int8": int8}[precision]
    with Denoiser(file_of(to_uint8(model, precision), precision, pictures(1, 64)[0]), "cpu", 1) as denoiser:
        golden = denoiser.model.golden
        assert (len(golden.noisy), golden.shape) == (48 * 48, (1, 48, 48, 1))
        assert golden.max_abs_error == np.ceil(255 * GOLDEN_TOLERANCE[precision]) >= 1
        outcome = self_test(denoiser)
        assert outcome.passed
        assert outcome.max_abs_error == 0


def test_the_golden_sample_of_float_edges_stays_in_floats(blur_denoiser, pictures):
    golden = golden_sample(blur_denoiser.SerializeToString(), pictures(1, 64)[0], "fp32", ImageSpec(1))
    assert len(golden.noisy) == 48 * 48 * 4
    assert golden.max_abs_error == GOLDEN_TOLERANCE["fp32"]


def test_pixels_reach_the_engine_without_a_copy(int8, pictures, monkeypatch):
    from dae_runtime.engine import session as engine

    fed: list[np.ndarray] = []
    really = engine.run_session
    with Denoiser(file_of(to_uint8(int8, "int8"), "int8", pictures(1, 32)[0]), "cpu", 1) as denoiser:
        monkeypatch.setattr(
            engine,
            "run_session",
            lambda session, batch, *more, **named: fed.append(batch) or really(session, batch, *more, **named),
        )
        image = random_pixels((48, 52))
        clean = denoiser.denoise(image)
        assert clean.dtype == np.uint8
        assert fed[0].dtype == np.uint8
        assert np.shares_memory(fed[0], image)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_deeper_images_are_rounded_to_8_bits_on_the_way_in(int8, pictures, dtype):
    white = 65535 if dtype == np.uint16 else 1
    with Denoiser(file_of(to_uint8(int8, "int8"), "int8", pictures(1, 32)[0]), "cpu", 1) as denoiser:
        pixels = random_pixels((20, 24))
        exact = denoiser.denoise(pixels)
        step = white / 255
        within = (pixels.astype(np.float64) + 0.3) * step  # nearer to its own step than to any other
        deep = np.clip(np.rint(within) if dtype == np.uint16 else within, 0, white).astype(dtype)
        clean = denoiser.denoise(deep)
        assert clean.dtype == dtype
        np.testing.assert_allclose(clean, exact * step, rtol=1e-6)
