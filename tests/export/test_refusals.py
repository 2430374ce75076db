"""Exports that are refused: the error text, and that nothing is written."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from dae_export import (
    CalibrationError,
    ConversionError,
    DestinationError,
    ExportOptions,
    GateError,
    KerasFileError,
    ParityError,
    export,
)
from dae_export.source import find_source
from dae_runtime.errors import InputError

pytestmark = pytest.mark.slow

untrained = partial(ExportOptions, min_psnr_gain=-100.0)
"""A network that makes images worse."""


def test_an_existing_file_is_replaced_only_on_request(run, tmp_path):
    target = tmp_path / "model.onnx"
    target.write_bytes(b"precious")
    with pytest.raises(DestinationError, match="already exists"):
        export(run, target, untrained())
    assert target.read_bytes() == b"precious"
    renamed = export(run, target, untrained(overwrite=True, name="blur"))
    assert renamed.contract.name == "blur"
    onnx.checker.check_model(onnx.load(target))


def test_no_stray_files(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    export(run, "model.onnx", untrained(quantize=True, max_psnr_drop=1.0, calibration_method="percentile"))
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def refused(source: Path, folder: Path, error: type[Exception], words: str, **options: Any) -> None:
    """Export into an empty folder, expect a refusal, and expect the folder to stay empty."""
    folder.mkdir(exist_ok=True)
    with pytest.raises(error, match=words):
        export(source, folder / "model.onnx", untrained(**options))
    assert list(folder.iterdir()) == []


def test_a_difference_from_keras_writes_nothing(run, tmp_path):
    refused(run, tmp_path / "out", ParityError, r"differs from the Keras model by .*at most 1e-12", atol=1e-12)


def test_too_much_loss_writes_nothing(tmp_path, keras, make_run, make_model):
    # A sound denoiser (it returns its input) whose middle layers use two channels of very different size: one step for both
    # loses the smaller, which is the picture.
    def net(x: Any) -> Any:
        for filters in (1, 2, 1, 1):
            x = keras.layers.Conv2D(filters, 1)(x)
        return x

    model = make_model(net)
    kernels = ([[1]], [[1, 3000]], [[1], [1e-7]], [[1]])
    model.set_weights([np.array(v, np.float32) for k in kernels for v in ([[k]], np.zeros(len(k[0])))])
    run = make_run(tmp_path / "run", model)
    refused(run, tmp_path / "out", GateError, r"INT8 loses \d+\.\d+ dB .*--max-psnr-drop", quantize=True)


def test_a_gain_that_is_too_small_writes_nothing_and_one_that_is_large_enough_passes(run, tmp_path):
    gain = {"quantize": True, "max_psnr_drop": 1.0}
    refused(run, tmp_path / "out", GateError, r"INT8 is \d.* less than the 900 of --min-speedup", min_speedup=900.0, **gain)
    result = export(run, tmp_path / "out" / "model.onnx", untrained(min_speedup=0.01, **gain))
    assert result.speedup is not None
    assert result.contract.report["speedup"] == round(result.speedup, 2)


def test_a_shift_of_the_brightness_writes_nothing(run, tmp_path):
    words = r"INT8 shifts a channel by .* more than the 0 of --max-color-shift"
    refused(run, tmp_path / "out", GateError, words, quantize=True, max_psnr_drop=1.0, max_color_shift=0.0)


def test_a_network_alone_takes_the_samples_of_its_run(run, tmp_path):
    assert find_source(run / "model.keras").calibration_path == find_source(run).calibration_path == run / "calibration.npz"
    assert export(run / "model.keras", tmp_path / "model.onnx", untrained(quantize=True, max_psnr_drop=1.0)).path.is_file()


def test_missing_samples_are_refused_before_the_model_is_loaded(tmp_path, make_run):
    run = make_run(tmp_path / "run", samples=None)
    (run / "model.keras").write_bytes(b"never read")
    refused(run, tmp_path / "out", CalibrationError, "--calibration-data", quantize=True)
    refused(run, tmp_path / "out", CalibrationError, "FP16 needs noisy images for the quality gates", dtype="fp16")
    refused(run, tmp_path / "out", CalibrationError, "does not exist", calibration_data=tmp_path / "missing")
    refused(run, tmp_path / "out", KerasFileError, "not a zip archive")


def test_a_place_that_cannot_be_written_is_refused_before_the_model_is_loaded(tmp_path, make_run):
    run = make_run(tmp_path / "run")
    (run / "model.keras").write_bytes(b"never read")
    for target, words in {
        tmp_path: "is a folder",
        tmp_path / "no" / "model.onnx": "does not exist",
        run / "model.keras": r"ends in \.onnx",
    }.items():
        with pytest.raises(DestinationError, match=words):
            export(run, target, untrained(overwrite=True))


def test_a_model_of_free_size_that_cannot_be_tiled_is_refused(tmp_path, keras, make_run, make_model):
    def net(x: Any) -> Any:
        return keras.layers.MultiHeadAttention(1, 2, attention_axes=2)(x, x)

    refused(make_run(tmp_path / "run", make_model(net)), tmp_path / "out", ConversionError, "reshapes images by their size")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"opset": 12}, "opset"),
        ({"opset": 19}, "opset"),
        ({"calibration_method": "guess"}, "auto, minmax, entropy, percentile"),
        ({"max_psnr_drop": -0.1}, "--max-psnr-drop must be"),
        ({"max_psnr_drop": float("nan")}, "--max-psnr-drop must be"),
        ({"max_color_shift": -1.0}, "--max-color-shift must be"),
        ({"quantize": True, "min_speedup": 0.0}, "--min-speedup must be"),
        ({"min_speedup": 2.0}, "--min-speedup must be omitted without --quantize"),
        ({"calibration_method": "entropy"}, "--calibration-method must be omitted without --quantize"),
        ({"dtype": "bf16"}, "fp32 or fp16"),
        ({"dtype": "fp16", "quantize": True}, "dtype"),
        ({"io": "uint16"}, "float32 or uint8"),
        ({"atol": 0.0}, "atol"),
        ({"atol": float("inf")}, "atol"),
    ],
)
def test_impossible_options_are_refused(options, word):
    with pytest.raises(InputError, match=word):
        untrained(**options)
