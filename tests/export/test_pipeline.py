"""The whole export: its files and their contracts."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest

from dae_export import (
    DestinationError,
    ExportOptions,
    export,
)
from dae_export.graph.macs import count_macs, integer_nodes, share
from dae_export.product import tool_versions
from dae_export.product.strategies import CANDIDATES
from dae_export.report import measure_report
from dae_runtime.contract import METADATA_KEY, from_json
from dae_runtime.engine.session import open_session, read_contract, run_session
from dae_runtime.system.processor import available_cpus, cpu_name

pytestmark = pytest.mark.slow

untrained = partial(ExportOptions, min_psnr_gain=-100.0)
"""A network that makes images worse."""

INT8 = untrained(quantize=True, max_psnr_drop=1.0)


@pytest.fixture(scope="module")
def fp32(run):
    return export(run, options=untrained())


@pytest.fixture(scope="module")
def int8(run):
    return export(run, options=INT8)


@pytest.fixture(scope="module")
def reference(keras, run):
    return keras.models.load_model(run / "model.keras", compile=False)


def test_the_file_goes_beside_the_model(run, fp32, int8):
    assert fp32.path == run / "v2.onnx"
    assert int8.path == run / "v2-int8.onnx"
    assert fp32.size_bytes == fp32.path.stat().st_size
    assert not list(run.glob(".*"))


def test_the_file_computes_what_keras_computes_at_any_size(fp32, reference):
    session = open_session(fp32.path)
    for shape in ((1, 4, 4, 1), (3, 36, 20, 1), (7, 28, 28, 1)):
        noisy = np.random.default_rng(1).random(shape, np.float32)
        expected = np.asarray(reference(noisy, training=False))
        np.testing.assert_allclose(run_session(session, noisy), expected, atol=1e-5, rtol=0)


def test_the_contract_in_the_file_is_the_result_s(fp32, int8):
    for result in (fp32, int8):
        assert read_contract(open_session(result.path), "file") == result.contract
        model = onnx.load(result.path)
        assert [entry.key for entry in model.metadata_props] == [METADATA_KEY]
        assert from_json(model.metadata_props[0].value) == result.contract
        onnx.checker.check_model(model, full_check=True)


def test_the_contract_describes_the_model(fp32, int8):
    contract = fp32.contract
    assert (contract.name, contract.preset, contract.noise) == ("digits", "v2", "gaussian:0.1")
    assert (contract.channels, contract.io_dtype, contract.precision) == (1, "float32", "fp32")
    assert (contract.fixed_size, contract.alignment_px, contract.halo_px) == (None, 4, 8)
    assert contract.parity.max_abs_error <= contract.parity.tolerance == 1e-5
    assert len(contract.parity.shapes) >= 4
    assert contract.calibration is None
    assert contract.quality is not None
    assert contract.quality.samples == 24
    assert contract.quality.psnr_db == contract.quality.fp32_psnr_db
    assert contract.tools == tool_versions()
    assert {"dae-toolkit", "tensorflow", "keras", "tf2onnx", "onnx", "numpy"} <= set(contract.tools)

    contract = int8.contract
    assert contract.precision == "int8"
    assert contract.calibration is not None
    assert contract.calibration.method in CANDIDATES  # whichever is best
    assert contract.calibration.samples == 24
    assert contract.quality is not None
    assert contract.quality.fp32_psnr_db == pytest.approx(fp32.contract.quality.fp32_psnr_db, abs=1e-6)
    assert int8.judgment is not None
    assert contract.report["psnr_drop_db"] == pytest.approx(int8.judgment.drop_db, abs=1e-4)
    assert contract.report["layers_in_float"] == list(int8.float_layers)
    written = onnx.load(int8.path)
    measured = share(count_macs(written, 32, 32), integer_nodes(written))
    assert contract.report["integer_share"] == pytest.approx(measured, abs=1e-4)
    assert contract.report["float_share"] == 0.0
    assert [round(shift, 3) for shift in int8.judgment.color_shift] == contract.report["color_shift"]


def test_the_contract_contains_the_chosen_form_and_its_times(fp32, int8):
    for result, names in ((fp32, {"canonical", "phases", "rows"}), (int8, {"canonical", "phases-16", "rows-16", "sums-16"})):
        form, macs = result.contract.report["form"], result.contract.report["macs_per_pixel"]
        assert form["name"] == result.form
        assert set(form["median_ms"]) == names | ({"canonical float32"} if result is int8 else set())
        assert all(ms > 0 for ms in form["median_ms"].values())
        assert (form["shape"], form["processor"], form["threads"]) == ([1, 512, 512, 1], cpu_name(), available_cpus())
        assert macs["network"] == 9 * 8 + (9 * 8 * 8 + 9 * 8 * 8) / 4 + (9 * 8 * 16 + 9 * 8 * 16) / 16 + 9 * 8
        assert macs["computed"] >= macs["network"]


def test_the_golden_sample_replays(fp32, int8):
    for result in (fp32, int8):
        golden = result.contract.golden
        noisy, expected = (np.frombuffer(data, "<f4").reshape(golden.shape) for data in (golden.noisy, golden.denoised))
        assert golden.shape == (1, 48, 48, 1)
        assert 0 < golden.max_abs_error < 0.04
        np.testing.assert_allclose(run_session(open_session(result.path), noisy), expected, atol=golden.max_abs_error, rtol=0)
        assert noisy.std() > 0.01


def test_int8_is_integer_inside(int8):
    assert int8.node_counts["QuantizeLinear"] > 5
    weights = [tensor for tensor in onnx.load(int8.path).graph.initializer if len(tensor.dims) == 4]
    assert len(weights) >= 6
    assert {tensor.data_type for tensor in weights} == {onnx.TensorProto.INT8}


def test_without_rewrites_the_graph_is_canonical_and_the_same_export_gives_the_same_bytes(run, tmp_path, fp32):
    plain = untrained(rewrite=False, pad=False)
    first, second = (export(run, tmp_path / f"{name}.onnx", plain) for name in ("first", "second"))
    assert first.node_counts == {"Transpose": 2, "Conv": 3, "LeakyRelu": 5, "ConvTranspose": 3, "Sigmoid": 1}
    assert (first.form, first.choice, first.contract.report["form"]) == ("canonical", None, {"name": "canonical"})
    assert first.path.read_bytes() == second.path.read_bytes()
    noisy = np.random.default_rng(0).random((2, 20, 12, 1), np.float32)
    both = [run_session(open_session(result.path), noisy) for result in (first, fp32)]
    np.testing.assert_allclose(both[0], both[1], atol=1e-5, rtol=0)
    integer = export(run, tmp_path / "int8.onnx", untrained(quantize=True, rewrite=False, max_psnr_drop=1.0))
    assert integer.contract.report["form"] == {"name": "canonical"}
    assert 0 < integer.contract.report["integer_share"] < 1  # there is no integer ConvTranspose


def test_half_precision(run, tmp_path):
    result = export(run, options=untrained(dtype="fp16"))
    assert result.path == run / "v2-fp16.onnx"
    assert (result.contract.precision, result.contract.io_dtype, result.form) == ("fp16", "float32", "canonical")
    assert result.judgment is not None
    assert abs(result.judgment.drop_db) < 0.1
    assert {t.data_type for t in onnx.load(result.path).graph.initializer if len(t.dims) == 4} == {onnx.TensorProto.FLOAT16}


@pytest.mark.parametrize("quantize", [False, True])
def test_pixels_in_and_out(run, tmp_path, quantize, fp32, int8):
    options = untrained(quantize=quantize, io="uint8", max_psnr_drop=1.0)
    result = export(run, tmp_path / "pixels.onnx", options)
    golden = result.contract.golden
    assert (result.contract.io_dtype, len(golden.noisy)) == ("uint8", 48 * 48)
    noisy = np.frombuffer(golden.noisy, np.uint8).reshape(golden.shape)
    received = run_session(open_session(result.path), noisy)
    assert received.dtype == np.uint8
    assert np.abs(received - np.frombuffer(golden.denoised, np.uint8).reshape(golden.shape).astype(int)).max() == 0
    assert result.contract.quality is not None
    other = (int8 if quantize else fp32).contract.quality
    assert other is not None
    assert result.contract.quality.psnr_db == pytest.approx(other.psnr_db, abs=0.05)


def test_a_report_beside_the_model_holds_the_figures_of_the_contract(run, tmp_path, monkeypatch):
    monkeypatch.setattr("dae_export.pipeline.measure_report", partial(measure_report, seconds=0.2))
    options = untrained(quantize=True, max_psnr_drop=1.0, min_speedup=0.01, report=tmp_path / "page.html")
    result = export(run, tmp_path / "model.onnx", options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "page.html"]
    assert "digits" in (tmp_path / "page.html").read_text("utf-8")
    figures = result.contract.report
    assert figures["work"]["integer_share"] == pytest.approx(figures["integer_share"], abs=1e-3)
    assert len(figures["gates"]) == 5
    assert figures["speedup"] == pytest.approx(result.speedup, abs=0.01)
    for target, words in (("none/page.html", "does not exist"), ("page.txt", r"ends in \.html"), (".", "is a folder")):
        with pytest.raises(DestinationError, match=words):
            export(run, tmp_path / "other.onnx", untrained(report=tmp_path / target))


def test_a_report_that_cannot_be_written_leaves_no_model(run, tmp_path, monkeypatch):
    monkeypatch.setattr("dae_export.pipeline.measure_report", partial(measure_report, seconds=0.2))
    with pytest.raises(DestinationError, match=r"/proc/page\.html cannot be written: .* Give another --report"):
        export(run, tmp_path / "model.onnx", untrained(report=Path("/proc/page.html")))
    assert not list(tmp_path.iterdir())


def test_a_fixed_size_model(tmp_path, make_run, make_v1):
    contract = export(make_run(tmp_path / "vector", make_v1(filters=(8, 8, 8, 8)), preset="v1"), options=INT8).contract
    assert (contract.preset, contract.fixed_size, contract.alignment_px, contract.halo_px) == ("v1", (28, 28), 1, None)
    assert contract.golden.shape == (1, 28, 28, 1)
    assert {shape[0] for shape in contract.parity.shapes} == {1, 2, 5}
    noisy = np.random.default_rng(0).random((4, 28, 28, 1), np.float32)
    assert run_session(open_session(tmp_path / "vector" / "v1-int8.onnx"), noisy).shape == noisy.shape


def test_a_color_keras_file_with_samples(tmp_path, make_v2, pictures):
    make_v2(3, filters=(4, 4, 8)).save(tmp_path / "mine.keras")
    np.save(tmp_path / "noisy.npy", (pictures(9, 30, 3)[0] * 255).astype(np.uint8))
    contract = export(tmp_path / "mine.keras", options=untrained()).contract
    assert (contract.name, contract.preset, contract.noise, contract.channels) == ("mine", "v2", "unknown", 3)
    assert contract.quality is None
    assert contract.golden.shape == (1, 48, 48, 3)
    options = untrained(quantize=True, calibration_data=tmp_path / "noisy.npy", max_psnr_drop=5.0)
    result = export(tmp_path / "mine.keras", tmp_path / "small.onnx", options)
    assert result.contract.calibration is not None
    assert (result.contract.calibration.source, result.contract.calibration.samples) == ("noisy.npy", 6)
    assert result.contract.quality is None
    assert result.contract.report["psnr_drop_is_estimated"] is True
