"""Networks that are given the noise level, from the Keras model to the files of every kind."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from dae_export import ExportOptions, export
from dae_export.errors import CalibrationError, KerasFileError
from dae_export.precision import is_exact, near_halves
from dae_runtime.contract import METADATA_KEY, SigmaInput, from_json

untrained = partial(ExportOptions, min_psnr_gain=-100.0)
LEVELS = SigmaInput(0.0, 0.25)
INT8 = untrained(quantize=True, max_psnr_drop=3, max_color_shift=2, calibration_method="minmax")
"""With nothing clipped."""


@pytest.fixture(scope="module")
def leveled_run(tmp_path_factory, make_run, make_leveled):
    """A run directory whose samples have levels from 0 to 0.25."""
    folder = make_run(tmp_path_factory.mktemp("run") / "leveled", make_leveled(), "edge-s", None)
    description = (folder / "run.toml").read_text("utf-8").replace("gaussian:0.1", "gaussian:0-0.25")
    (folder / "run.toml").write_text(description, "utf-8")
    np.savez(folder / "calibration.npz", **leveled_samples())
    return folder


def leveled_samples(channels: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    arrays = {}
    for part in ("", "test_"):
        clean = np.repeat(rng.random((16, 4, 4, channels), np.float32), 8, 1).repeat(8, 2) * np.float32(0.8)
        sigma = np.linspace(0, 0.25, 16, dtype=np.float32)[:, None]
        noise = rng.standard_normal(clean.shape, np.float32) * sigma[..., None, None]
        arrays |= {f"{part}noisy": clean + noise, f"{part}clean": clean, f"{part}sigma": sigma}
    return arrays


def run(path: Any, noisy: np.ndarray, *sigma: float) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [entry.name for entry in session.get_inputs()] == ["noisy", "sigma"]
    return np.asarray(session.run(["denoised"], {"noisy": noisy, "sigma": np.float32(sigma)[:, None]})[0])


def contract_of(path):
    (entry,) = (entry for entry in onnx.load(path).metadata_props if entry.key == METADATA_KEY)
    return from_json(entry.value)


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        (untrained(), 1e-5),
        (untrained(rewrite=False, pad=False), 1e-5),
        (untrained(dtype="fp16", max_psnr_drop=1), 0.02),
        (INT8, 0.1),
        (replace(INT8, rewrite=False), 0.1),
    ],
    ids=["fp32", "canonical", "fp16", "int8", "canonical-int8"],
)
def test_the_file_is_the_network(leveled_run, tmp_path, keras, options, tolerance):
    path = tmp_path / "model.onnx"
    result = export(leveled_run, path, options)
    contract = contract_of(path)
    assert contract.sigma == LEVELS
    assert contract.golden.sigma == pytest.approx(0.125)
    noisy = leveled_samples()["test_noisy"][[3, 9, 14]]
    levels = (0.05, 0.12, 0.25)
    model = keras.models.load_model(leveled_run / "model.keras", compile=False)
    expected = np.asarray(model([noisy, np.float32(levels)[:, None]]))
    assert np.abs(expected - noisy).max() > 10 * tolerance or options.quantize
    np.testing.assert_allclose(run(path, noisy, *levels), expected, atol=tolerance, rtol=0)
    for one, level in enumerate(levels):  # each image of a batch has its own
        alone = run(path, noisy[one : one + 1], level)
        np.testing.assert_allclose(alone[0], run(path, noisy, *levels)[one], atol=1e-5 if tolerance < 1e-4 else 0.02)
    if options.dtype != "fp16":
        np.testing.assert_array_equal(run(path, noisy, 0, 0, 0), noisy)
    if options.pad:
        odd = noisy[:1, :13, :7]
        assert run(path, odd, 0.1).shape == odd.shape
        np.testing.assert_allclose(run(path, odd, 0), odd, atol=1e-3)
    if options.quantize:
        assert contract.is_exact
        assert is_exact(path)
        assert near_halves(path) == []
        assert result.contract.report["integer_share"] > 0.8  # the first layer is in float, and exact
        assert {"Gemm", "Mul"} <= set(result.node_counts)


def test_the_golden_sample_is_what_the_file_makes(leveled_run, tmp_path):
    path = tmp_path / "int8.onnx"
    export(leveled_run, path, untrained(quantize=True, max_psnr_drop=3, max_color_shift=2))
    golden = contract_of(path).golden
    noisy, denoised = (np.frombuffer(data, "<f4").reshape(golden.shape) for data in (golden.noisy, golden.denoised))
    np.testing.assert_array_equal(run(path, noisy, golden.sigma), denoised)
    assert np.abs(denoised - noisy).max() > 0.05


@pytest.mark.parametrize("quantize", [False, True])
def test_8_bit_pixels_keep_the_level_in_float(leveled_run, tmp_path, quantize):
    """The level is on the scale where white is 1, whatever the pixels are, and at 0 the pixels come back."""
    options = INT8 if quantize else untrained()
    for io in ("float32", "uint8"):
        export(leveled_run, tmp_path / f"{io}.onnx", replace(options, io=io))
    assert contract_of(tmp_path / "uint8.onnx").io_dtype == "uint8"
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 24, 1), np.uint8)
    np.testing.assert_array_equal(run(tmp_path / "uint8.onnx", pixels, 0, 0), pixels)
    received = run(tmp_path / "uint8.onnx", pixels, 0.05, 0.2)
    floats = run(tmp_path / "float32.onnx", pixels / np.float32(255), 0.05, 0.2)
    expected = np.rint(np.clip(floats, 0, 1) * 255)
    assert np.abs(received - expected).max() <= (8 if quantize else 1)  # another form may have been the fastest
    assert np.abs(received - expected).mean() < 0.5


def test_color_with_a_report(tmp_path, make_run, make_leveled):
    folder = make_run(tmp_path / "color", make_leveled(3), "edge-s", None)
    np.savez(folder / "calibration.npz", **leveled_samples(3))
    options = untrained(quantize=True, max_psnr_drop=3, max_color_shift=2, report=tmp_path / "report.html")
    result = export(folder, tmp_path / "model.onnx", options, noise="unknown")
    assert result.contract.sigma == LEVELS  # of the samples, where the noise tells nothing
    assert result.contract.quality is not None
    assert result.contract.quality.fp32_psnr_db != result.contract.quality.noisy_psnr_db
    assert (tmp_path / "report.html").read_text("utf-8").startswith("<!")
    json.dumps(result.contract.report, allow_nan=False)


def test_a_single_file_needs_to_know_its_levels(tmp_path, make_leveled):
    path = tmp_path / "net.keras"
    make_leveled().save(path)
    with pytest.raises(CalibrationError, match="nothing says which levels"):
        export(path, tmp_path / "net.onnx")
    result = export(path, tmp_path / "net.onnx", noise="gaussian:15/255-50/255")
    assert (result.contract.sigma.low, result.contract.sigma.high) == pytest.approx((15 / 255, 50 / 255))


def test_the_command_proves_the_file_exact(leveled_run, tmp_path, dae_export):
    path = tmp_path / "int8.onnx"
    made = dae_export(
        leveled_run, "--quantize", "--min-psnr-gain", -100, "--max-psnr-drop", 3, "--max-color-shift", 2, "-o", path
    )
    assert made.returncode == 0, made.stderr
    checked = dae_export("--check", path)
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.startswith("exact on every processor")
    assert "may round" not in checked.stdout


def test_another_second_input_is_refused(tmp_path, keras):
    image, other = keras.Input((None, None, 1), name="noisy"), keras.Input((1,), name="strength")
    gain = keras.layers.Reshape((1, 1, 1))(other)
    path = tmp_path / "net.keras"
    keras.Model([image, other], keras.layers.Multiply()([image, gain])).save(path)
    with pytest.raises(KerasFileError, match="'sigma'"):
        export(path, tmp_path / "net.onnx")
