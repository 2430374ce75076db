"""The Python API of the export: a Keras model in memory, and docs/python-api.md."""

from __future__ import annotations

import ast
import dataclasses
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import dae_export
from dae_export import CalibrationError, DestinationError, ExportOptions, ExportResult, KerasFileError, export
from dae_runtime.engine.session import open_session, read_contract, run_session

PLAIN = ExportOptions(rewrite=False, min_psnr_gain=-100.0)  # of a network that was not trained
TEXT = (Path(__file__).parents[2] / "docs/python-api.md").read_text("utf-8")


@pytest.fixture(scope="module")
def model(make_v2) -> Any:
    return make_v2(filters=(4, 4, 8))


def section() -> str:
    """Return what the page says about the export."""
    found = re.search(r"^## Export\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE)
    assert found
    return found[1]


def test_a_model_in_memory_exports_the_same_bytes_as_its_file(model, tmp_path):
    model.save(tmp_path / "v2.keras")
    weights = [weight.copy() for weight in model.get_weights()]
    written = [export(source, tmp_path / f"{i}.onnx", PLAIN) for i, source in enumerate((model, tmp_path / "v2.keras"))]
    assert written[0].path.read_bytes() == written[1].path.read_bytes()
    assert all(np.array_equal(before, after) for before, after in zip(weights, model.get_weights(), strict=True))
    contract = written[0].contract
    assert (contract.name, contract.preset, contract.noise) == ("v2", "v2", "unknown")


def test_arguments_describe_a_model_in_memory(model, tmp_path):
    options = ExportOptions(rewrite=False, name="mine")
    contract = export(model, tmp_path / "m.onnx", options, preset="toy", noise="gaussian:0.1").contract
    assert (contract.name, contract.preset, contract.noise) == ("mine", "toy", "gaussian:0.1")
    assert read_contract(open_session(tmp_path / "m.onnx"), "file") == contract


def test_arguments_override_the_run(make_run, tmp_path):
    contract = export(make_run(tmp_path / "run"), tmp_path / "m.onnx", PLAIN, preset="toy", noise="poisson:30").contract
    assert (contract.preset, contract.noise) == ("toy", "poisson:30")


def test_a_model_of_mixed_precision_is_written_in_float32_and_not_changed(keras, tmp_path):
    image = keras.Input((None, None, 1))
    layer = keras.layers.Conv2D(1, 3, padding="same", dtype="mixed_float16")
    mixed = keras.Model(image, keras.layers.Activation("linear", dtype="float32")(layer(image)), name="mixed")
    result = export(mixed, tmp_path / "m.onnx", PLAIN)
    noisy = np.random.default_rng(0).random((1, 8, 8, 1), np.float32)
    kernel, bias = layer.get_weights()
    expected = sum(
        np.pad(noisy[0, ..., 0], 1)[row : row + 8, column : column + 8] * kernel[row, column, 0, 0]
        for row in range(3)
        for column in range(3)
    )
    received = run_session(open_session(result.path), noisy)[0, ..., 0]
    np.testing.assert_allclose(received, expected + bias, atol=1e-6)
    assert layer.compute_dtype == "float16"


def test_a_model_of_mixed_precision_that_cannot_be_rebuilt_is_refused(keras, tmp_path):
    class Own(keras.layers.Layer):
        def __init__(self, factor: float, **options: Any) -> None:
            super().__init__(**options)
            self.factor = factor

        def call(self, x: Any) -> Any:
            return x * self.factor

    image = keras.Input((None, None, 1))
    model = keras.Model(image, Own(0.5, dtype="mixed_float16")(image))
    with pytest.raises(KerasFileError, match="cannot be rebuilt in float32"):
        export(model, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_int8_of_a_model_in_memory_needs_samples(model, tmp_path, pictures):
    quantized = ExportOptions(rewrite=False, quantize=True, max_psnr_drop=5.0, max_color_shift=5.0)
    with pytest.raises(CalibrationError, match=r"calibration, and a model in memory has none\. .*--calibration-data"):
        export(model, tmp_path / "m.onnx", quantized)
    np.save(tmp_path / "noisy.npy", pictures(8, 28)[0])
    options = dataclasses.replace(quantized, calibration_data=tmp_path / "noisy.npy")
    assert export(model, tmp_path / "m.onnx", options).contract.precision == "int8"


@pytest.mark.parametrize("source", [7, None, b"model.keras", object()])
def test_neither_a_path_nor_a_model_is_refused(source, tmp_path):
    with pytest.raises(KerasFileError, match=rf"a path or a keras\.Model, received {type(source).__name__}"):
        export(source, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_is_not_built_is_refused(keras, tmp_path):
    with pytest.raises(KerasFileError, match=r"has no inputs.*keras\.Input"):
        export(keras.Sequential([keras.layers.Conv2D(1, 3, padding="same")]), tmp_path / "m.onnx")


def test_a_model_in_memory_needs_a_destination(model):
    with pytest.raises(DestinationError, match="Give the path of the output file"):
        export(model)


# --- the page ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_example_of_the_page_runs_as_it_is(tmp_path):
    code, *_ = re.findall(r"^```python\n(.*?)^```", section(), re.DOTALL | re.MULTILINE)
    program = tmp_path / "example.py"
    program.write_text(code, "utf-8")
    finished = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, cwd=tmp_path, timeout=300, check=False
    )
    assert finished.returncode == 0, finished.stderr
    error, quality = finished.stdout.splitlines()
    assert float(error) <= 1e-5
    assert re.fullmatch(r"\d\d\.\d+ dB, float32 \d\d\.\d+ dB", quality)
    for name in ("mine", "mine-int8"):
        onnx.checker.check_model(onnx.load(tmp_path / f"{name}.onnx"), full_check=True)


def test_the_page_names_every_public_name_option_and_default():
    text = section()
    assert [name for name in dae_export.__all__ if f"`{name}" not in text] == []
    rows = re.findall(r"^\| `(\w+)` \| `(.+?)` \|", text.partition("**`ExportOptions`**")[2], re.MULTILINE)
    defaults = {field.name: field.default for field in dataclasses.fields(ExportOptions)}
    assert {name: ast.literal_eval(value) for name, value in rows} == defaults
    assert [field.name for field in dataclasses.fields(ExportResult) if f"`{field.name}`" not in text] == []
