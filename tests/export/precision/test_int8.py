"""INT8: right numbers, integer weights per channel, no stray files, and honest figures."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from dae_export.errors import CalibrationError
from dae_export.measure.quality import judge
from dae_export.measure.samples import Samples
from dae_export.precision import calibrate, quantize
from dae_runtime.contract import CALIBRATION_METHODS
from dae_runtime.pixels.metrics import psnr_db


@pytest.fixture(scope="module")
def int8(blur_denoiser, ranges) -> onnx.ModelProto:
    return quantize(blur_denoiser, ranges)


def test_it_is_close_to_float_and_denoises(blur_denoiser, int8, samples):
    judgment = judge(blur_denoiser.SerializeToString(), int8.SerializeToString(), samples)
    assert judgment.agreement_db > 45
    assert abs(judgment.drop_db) < 0.1
    assert judgment.quality is not None
    assert judgment.quality.psnr_db > judgment.quality.noisy_psnr_db + 3


def test_weights_are_signed_and_scaled_per_channel_activations_unsigned(int8):
    constants = {tensor.name: tensor for tensor in int8.graph.initializer}
    types = {name: tensor.data_type for name, tensor in constants.items()}
    assert types["w1_quantized"] == types["w2_quantized"] == TensorProto.INT8
    assert types["b1_quantized"] == TensorProto.INT32
    assert numpy_helper.to_array(constants["w1_scale"]).shape == (8,)
    assert types["c1_zero_point"] == TensorProto.UINT8
    assert not any(node.domain for node in int8.graph.node)


def test_pixels_have_a_step_of_one_255th_at_both_edges(int8, blur_denoiser, ranges, run_onnx):
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in int8.graph.initializer}
    for edge in ("QuantizeLinear", "DequantizeLinear"):
        node = next(n for n in (int8.graph.node if edge[0] == "Q" else reversed(int8.graph.node)) if n.op_type == edge)
        assert constants[node.input[1]] == np.float32(1 / 255)
        assert constants[node.input[2]] == 0
    white = run_onnx(int8, np.ones((1, 16, 16, 1), np.float32))
    assert white[0, 4:-4, 4:-4].min() > 0.98  # brighter than any calibration sample, and not clipped to it


def test_the_source_is_not_changed_and_nothing_is_left_behind(blur_denoiser, samples, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = blur_denoiser.SerializeToString()
    for method in CALIBRATION_METHODS:
        quantize(blur_denoiser, calibrate(blur_denoiser, samples.calibration, method))
    assert blur_denoiser.SerializeToString() == before
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("method", CALIBRATION_METHODS)
def test_every_calibration_method_gives_a_sound_model(blur_denoiser, samples, method):
    ranges = calibrate(blur_denoiser, samples.calibration, method)
    judgment = judge(blur_denoiser.SerializeToString(), quantize(blur_denoiser, ranges).SerializeToString(), samples)
    assert judgment.agreement_db > 35, method
    assert ranges.method == method


@pytest.mark.parametrize("method", CALIBRATION_METHODS)
def test_calibration_reads_one_batch_at_a_time(blur_denoiser, pictures, method):
    alive: list[int] = []

    def read() -> Iterator[np.ndarray]:
        for index in range(4):
            alive.append(index)
            yield pictures(2, 16, seed=index)[0]

    calibrate(blur_denoiser, read(), method)
    assert alive == [0, 1, 2, 3]


def test_the_ranges_are_those_of_all_batches(blur_denoiser, pictures, run_onnx):
    parts = [np.full((1, 8, 8, 1), value, np.float32) for value in (0.2, 1.0, 0.5)]
    ranges = calibrate(blur_denoiser, parts)
    together = calibrate(blur_denoiser, [np.concatenate(parts)])
    for name in ("c1", "a1"):
        values = [[float(np.max(end)) for end in r.values[name].range_value] for r in (ranges, together)]
        assert values[0] == values[1]


def test_no_samples_are_refused(blur_denoiser):
    with pytest.raises(CalibrationError, match="no samples"):
        calibrate(blur_denoiser, [])


def test_a_bias_beside_weights_of_zero_is_as_exact_as_the_output_can_tell(blur_denoiser, samples, run_onnx):
    lone = onnx.ModelProto()
    lone.CopyFrom(blur_denoiser)
    by_name = {tensor.name: tensor for tensor in lone.graph.initializer}
    by_name["w2"].CopyFrom(numpy_helper.from_array(np.zeros((1, 8, 3, 3), np.float32), "w2"))
    for bias in (np.float32(0.3), np.float32(0.6)):  # no whole number of steps of the data
        by_name["b2"].CopyFrom(numpy_helper.from_array(bias.reshape(1), "b2"))
        int8 = quantize(lone, calibrate(lone, samples.calibration))
        constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in int8.graph.initializer}
        stored = constants["b2_quantized"] * np.float64(constants["b2_quantized_scale"])
        assert stored == pytest.approx(bias, rel=1e-6)
        received = run_onnx(int8, np.full((1, 8, 8, 1), 0.5, np.float32))
        np.testing.assert_allclose(received, bias, atol=0.5 / 255 + 1e-6)


def test_chosen_nodes_stay_in_float(blur_denoiser, ranges):
    model = quantize(blur_denoiser, ranges, ["conv_2", "transpose_2"])
    names = {tensor.name for tensor in model.graph.initializer}
    assert {"w1_quantized", "w2"} <= names
    assert "w2_quantized" not in names


def test_a_channel_of_zeros_keeps_its_bias_behind_an_activation_of_zeros(run_onnx, pictures):
    """The quantizer's own steps are 1 for both, so that it rounds this bias to 1."""
    constants = {"w1": -np.ones((1, 1, 1, 1)), "b1": [-1], "w2": np.zeros((1, 1, 1, 1)), "b2": [0.54]}
    nodes = [
        onnx.helper.make_node("Transpose", ["noisy"], ["x"], "transpose_1", perm=[0, 3, 1, 2]),
        onnx.helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], "conv_1", kernel_shape=[1, 1]),
        onnx.helper.make_node("Relu", ["c1"], ["a1"], "relu_1"),
        onnx.helper.make_node("Conv", ["a1", "w2", "b2"], ["c2"], "conv_2", kernel_shape=[1, 1]),
        onnx.helper.make_node("Transpose", ["c2"], ["denoised"], "transpose_2", perm=[0, 2, 3, 1]),
    ]
    dims = ["batch", "height", "width", 1]
    edges = [onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name in ("noisy", "denoised")]
    tensors = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()]
    graph = onnx.helper.make_graph(nodes, "zeros", edges[:1], edges[1:], tensors)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)
    noisy = pictures(2, 8)[0]
    received = run_onnx(quantize(model, calibrate(model, [noisy])), noisy)
    np.testing.assert_allclose(received, 0.54, atol=0.5 / 255 + 1e-6)


# --- judgment ------------------------------------------------------------------------------------------------


def test_the_figures_are_psnr_of_the_mean_squared_error(blur_denoiser, samples, run_onnx):
    fp32 = blur_denoiser.SerializeToString()
    quality = judge(fp32, fp32, samples).quality
    noisy, clean = (np.concatenate(list(part)) for part in (samples.test, samples.clean or ()))
    assert quality is not None
    assert quality.noisy_psnr_db == pytest.approx(psnr_db(clean, noisy))
    assert quality.fp32_psnr_db == pytest.approx(psnr_db(clean, np.clip(run_onnx(blur_denoiser, noisy), 0, 1)), abs=1e-4)
    assert quality.psnr_db == quality.fp32_psnr_db
    assert quality.samples == 20


def without_references(samples: Samples) -> Samples:
    return Samples(samples.calibration, samples.test, None, samples.source)


def test_without_references_the_drop_is_estimated_and_there_are_no_figures(blur_denoiser, int8, samples):
    fp32 = blur_denoiser.SerializeToString()
    known = judge(fp32, int8.SerializeToString(), samples)
    estimated = judge(fp32, int8.SerializeToString(), without_references(samples))
    assert estimated.quality is None
    assert estimated.agreement_db == known.agreement_db
    assert 0 < estimated.drop_db < 0.1
    assert judge(fp32, fp32, without_references(samples)).drop_db == 0


def test_a_shift_is_the_mean_difference_of_each_channel_in_steps(
    batches,
):
    rng = np.random.default_rng(0)
    noisy = rng.uniform(0.4, 0.6, (6, 16, 16, 3)).astype(np.float32)
    judging = Samples(batches(noisy), batches(noisy), None, "noise")

    def model(shift: tuple[float, float, float]) -> bytes:
        node = onnx.helper.make_node("Add", ["noisy", "shift"], ["denoised"])
        dims = ["batch", "height", "width", 3]
        edges = [onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name in ("noisy", "denoised")]
        constant = numpy_helper.from_array(np.array(shift, np.float32), "shift")
        graph = onnx.helper.make_graph([node], "shift", edges[:1], edges[1:], [constant])
        return onnx.helper.make_model(
            graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8
        ).SerializeToString()

    judgment = judge(model((0, 0, 0)), model((1 / 255, 0, -2 / 255)), judging)
    assert judgment.color_shift == pytest.approx((1, 0, -2), abs=1e-3)
